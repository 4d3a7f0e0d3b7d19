// Node-RED's editor at PATH, without calls to other hosts.
module.exports = {
  uiHost: '127.0.0.1',
  uiPort: process.env.PORT,
  httpAdminRoot: process.env.EDITOR_PATH,
  flowFile: 'flows.json',
  telemetry: { enabled: false, updateNotification: false },
  editorTheme: { tours: false, projects: { enabled: false } },
};
