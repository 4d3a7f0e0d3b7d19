//! What operators copy (`examples/deploy`, `docs`) names only metrics that a bridge exports, with the
//! labels that they have, and `docs/bridge.md` describes all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use h2ws::HttpVersion;

use crate::bridge_operations::{get, open};
use crate::certificates::authority;
use crate::in_process::{assert_echo, client, until};
use crate::process::{Scratch, Server, h2ws};

const PREFIX: &str = "h2ws_bridge_";
/// Labels that Prometheus adds.
const ADDED: [&str; 5] = ["instance", "job", "le", "namespace", "pod"];

type Metrics = BTreeMap<String, BTreeSet<String>>;

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Returns the labels in `{route="a",status=~"5.."}` at the start of `text`; JSON escapes the quotes.
fn labels(text: &str) -> BTreeSet<String> {
    let Some(rest) = text.strip_prefix('{') else {
        return BTreeSet::new();
    };
    let text = rest.replace("\\\"", "\"");
    let mut outside = String::new();
    for (at, part) in text.split('"').enumerate() {
        if at % 2 == 0 {
            outside.push_str(part);
        }
        if at % 2 == 0 && part.contains('}') {
            break;
        }
    }
    let outside = outside.split('}').next().unwrap_or_default();
    let names = outside.split([',', '=', '~', '!', ' ']);
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Returns each metric in `text` with the labels in braces after it.
fn named(text: &str) -> Vec<(String, BTreeSet<String>)> {
    let starts = text.match_indices(PREFIX);
    starts
        .map(|(at, _)| {
            let end = text[at..].find(|c| !is_name(c));
            let end = end.map_or(text.len(), |length| at + length);
            (text[at..end].to_owned(), labels(&text[end..]))
        })
        // `h2ws_bridge_` alone is the prefix itself.
        .filter(|(name, _)| name != PREFIX)
        .collect()
}

/// Returns all metrics of a bridge that has carried WebSockets and requests over both HTTP versions.
async fn exported() -> Metrics {
    let backend = Server::start(&["--subprotocol", "one", "--subprotocol", "two"]);
    let files = Scratch::new();
    authority(&files, "ours", "localhost");
    let routes = format!(
        "cleartext = true\nlisten = \"127.0.0.1:0\"\nmetrics = \"127.0.0.1:0\"\n\
         [upstream_tls]\ninsecure = true\n\
         [[listener]]\nlisten = \"127.0.0.1:0\"\n\
         [listener.tls]\ncert = \"ours-leaf.pem\"\nkey = \"ours-leaf.key\"\n\
         [[route]]\nto = \"{}\"\n",
        backend.url
    );
    let file = files.file("bridge.toml", &routes);
    let mut bridge = Server::start_with(&mut h2ws(&["bridge", "--config", &file]));
    assert!(bridge.running.line().starts_with("listening on wss://"));
    let line = bridge.running.line();
    let url = line.trim_end().strip_prefix("metrics at ");
    let url = url.expect("the URL of the metrics").to_owned();
    for version in [HttpVersion::Http1, HttpVersion::Http2] {
        let client = client(version);
        let mut socket = open(&client, &bridge.url).await;
        assert_echo(&mut socket, "hello").await;
        socket.close(None).await.expect("closed");
        client.shutdown().await;
    }
    let page = format!("{}/", bridge.url.replacen("ws", "http", 1));
    assert_eq!(get(&page).0, 200);
    let mut metrics = Metrics::new();
    until(|| {
        metrics.clear();
        for line in get(&url).1.lines().filter(|line| !line.starts_with('#')) {
            for (name, labels) in named(line) {
                metrics.entry(name).or_default().extend(labels);
            }
        }
        metrics.contains_key("h2ws_bridge_http_requests_total")
            && metrics.contains_key("h2ws_bridge_connections_closed_total")
            && metrics.contains_key("h2ws_bridge_socket_seconds_count")
    })
    .await;
    // Exported after the first PING, which is sent to connections that have lasted for a while.
    for suffix in ["bucket", "count", "sum"] {
        let name = format!("{PREFIX}http2_round_trip_seconds_{suffix}");
        metrics.entry(name).or_default().insert("side".into());
    }
    metrics
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn files_in(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                files_in(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

/// Checks what an expression, or a line of one, names and groups by.
fn check(file: &str, text: &str, exported: &Metrics) -> usize {
    let all: BTreeSet<_> = exported.values().flatten().collect();
    let exists = |label: &String| ADDED.contains(&label.as_str()) || all.contains(label);
    let found = named(text);
    for (name, labels) in &found {
        let has = exported
            .get(name)
            .unwrap_or_else(|| panic!("{file}: no metric {name}"));
        for label in labels {
            let known = has.contains(label) || ADDED.contains(&label.as_str());
            assert!(known, "{file}: {name} has no label {label}");
        }
    }
    for grouped in text.split(" by (").skip(1) {
        let (grouped, _) = grouped.split_once(')').expect("a closing parenthesis");
        // `<<.GroupBy>>` is a placeholder of the metrics adapter.
        let labels = grouped.split(", ").filter(|label| !label.starts_with("<<"));
        for label in labels.map(str::to_owned) {
            assert!(exists(&label), "{file}: nothing has the label {label}");
        }
    }
    found.len()
}

/// Checks that each `{{label}}` of a legend is one by which its expression groups, or a label of its
/// metric.
fn check_legend(panel: &str, expr: &str, legend: &str, exported: &Metrics) {
    for label in legend.split("{{").skip(1) {
        let (label, _) = label.split_once("}}").expect("closing braces");
        let grouped: Vec<_> = expr.split(" by (").skip(1).collect();
        let found = if grouped.is_empty() {
            let metrics = named(expr);
            metrics
                .iter()
                .all(|(name, _)| exported[name].contains(label))
        } else {
            let lists = grouped.iter().filter_map(|text| text.split(')').next());
            lists
                .flat_map(|list| list.split(", "))
                .any(|one| one == label)
        };
        assert!(found, "{panel}: {label} is not in the result of {expr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_operators_copy_names_metrics_that_exist() {
    let exported = exported().await;
    let root = repository();
    let mut uses = 0;
    for file in [
        files_in(&root.join("examples/deploy")),
        files_in(&root.join("docs")),
    ]
    .concat()
    {
        if file.extension().is_some_and(|extension| extension == "png") {
            continue;
        }
        let text = fs::read_to_string(&file).expect("UTF-8");
        uses += check(&file.display().to_string(), &text, &exported);
    }
    assert!(uses > 50, "{uses}");

    let dashboard = root.join("examples/deploy/grafana/h2ws-bridge.json");
    let dashboard = fs::read_to_string(dashboard).expect("the dashboard");
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).expect("JSON");
    let mut places = BTreeSet::new();
    let mut shown = BTreeSet::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().expect("a title");
        let at = &panel["gridPos"];
        let number = |key: &str| at[key].as_u64().unwrap_or_else(|| panic!("{title}: {key}"));
        for (x, y) in (0..number("w")).flat_map(|x| (0..number("h")).map(move |y| (x, y))) {
            let place = (number("x") + x, number("y") + y);
            assert!(place.0 < 24 && places.insert(place), "{title}: {place:?}");
        }
        for target in panel["targets"].as_array().into_iter().flatten() {
            let text = |key: &str| target[key].as_str().expect("text");
            check_legend(title, text("expr"), text("legendFormat"), &exported);
            shown.extend(
                named(text("expr"))
                    .into_iter()
                    .map(|(name, _)| family(&name)),
            );
        }
    }
    // Each is either shown, or says the same as another that is.
    let left_out = ["http2_data_frames", "upstream_http2_connections"];
    let hidden: Vec<_> = families(&exported)
        .into_keys()
        .filter(|name| !shown.contains(name) && !left_out.contains(&name.as_str()))
        .collect();
    assert!(hidden.is_empty(), "the dashboard does not show {hidden:?}");
}

/// Returns the name of a metric as the documentation has it, without the suffix of a histogram.
fn documented(name: &str) -> String {
    let name = name.strip_prefix(PREFIX).unwrap_or(name);
    let suffixes = ["_bucket", "_count", "_sum"];
    let short = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix));
    short.unwrap_or(name).to_owned()
}

fn family(name: &str) -> String {
    let name = documented(name);
    name.strip_suffix("_total").unwrap_or(&name).to_owned()
}

fn families(exported: &Metrics) -> Metrics {
    let mut families = Metrics::new();
    for (name, labels) in exported {
        let labels = labels.iter().filter(|label| *label != "le").cloned();
        families.entry(family(name)).or_default().extend(labels);
    }
    families
}

/// Each row of the table has the metrics in its first column, and their labels in its second.
#[tokio::test(flavor = "multi_thread")]
async fn the_documentation_lists_every_metric_with_its_labels() {
    let exported = families(&exported().await);
    let text = fs::read_to_string(repository().join("docs/bridge.md")).expect("docs/bridge.md");
    let (_, section) = text.split_once("\n## Metrics\n").expect("the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let quoted = |cell: &str| -> Vec<String> {
        let parts = cell.split('`').skip(1).step_by(2);
        parts.map(str::to_owned).collect()
    };
    let mut rows = BTreeSet::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.split('|').collect();
        let names: Vec<_> = quoted(cells[1]).iter().map(|name| family(name)).collect();
        let of_row: BTreeSet<_> = quoted(cells[2]).into_iter().collect();
        let mut labels = BTreeSet::new();
        for name in names {
            let of_one = exported.get(&name);
            labels.extend(of_one.unwrap_or_else(|| panic!("no metric {name}")).clone());
            rows.insert(name);
        }
        assert_eq!(of_row, labels, "{row}");
    }
    assert_eq!(rows, exported.into_keys().collect());
}
