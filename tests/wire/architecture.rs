//! The layers of ARCHITECTURE.md: no module imports from a layer above it, and no
//! two siblings import from each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each layer with those that it may use.
const LAYERS: [(&str, &[&str]); 13] = [
    ("clock", &[]),
    ("sync", &[]),
    ("setting", &[]),
    ("percent", &[]),
    ("frame", &[]),
    ("handshake", &["frame"]),
    ("metrics", &["frame"]),
    (
        "transport",
        &["clock", "percent", "setting", "sync", "metrics"],
    ),
    (
        "error",
        &["frame", "handshake", "metrics", "setting", "transport"],
    ),
    (
        "socket",
        &[
            "clock",
            "setting",
            "sync",
            "error",
            "frame",
            "metrics",
            "transport",
        ],
    ),
    ("client", BELOW_SOCKET),
    ("server", BELOW_SOCKET),
    ("bridge", &["client", "server"]),
];

/// What `client` and `server` may use; `bridge` may use it too.
const BELOW_SOCKET: &[&str] = &[
    "clock",
    "percent",
    "setting",
    "sync",
    "error",
    "frame",
    "handshake",
    "metrics",
    "transport",
    "socket",
];

/// What protocol logic without I/O may not touch.
const OUTSIDE: [&str; 9] = [
    "tokio",
    "h2::",
    "hyper",
    "rustls",
    "std::io",
    "std::time",
    "TcpStream",
    "UdpSocket",
    "getrandom",
];

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The code of a file without comments and without its tests.
fn code(path: &Path) -> String {
    if path
        .file_name()
        .is_some_and(|name| name == "tests.rs" || name == "testing.rs" || name == "models.rs")
    {
        return String::new();
    }
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The names behind each `crate::`, those in braces too.
fn uses(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let list = list.split('}').next().unwrap_or_default();
            names.extend(list.split(',').map(|name| first(name.trim())));
        } else {
            names.push(first(rest));
        }
    }
    names
}

fn first(path: &str) -> String {
    path.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

#[test]
fn no_module_imports_from_a_layer_above_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = 0;
    for (layer, allowed) in LAYERS {
        let file = src.join(layer).with_extension("rs");
        let files = if file.exists() {
            vec![file]
        } else {
            sources(&src.join(layer))
        };
        for path in files {
            for name in uses(&code(&path)) {
                seen += 1;
                let module = LAYERS.iter().any(|(layer, _)| *layer == name);
                let inherited = layer == "bridge" && BELOW_SOCKET.contains(&name.as_str());
                assert!(
                    !module || name == layer || inherited || allowed.contains(&name.as_str()),
                    "{}: {layer} may not use {name}",
                    path.display()
                );
            }
        }
    }
    assert!(seen > 50, "the scan finds nothing any more");
}

/// The modules of a directory, each with its files.
fn modules(dir: &Path) -> BTreeMap<String, Vec<PathBuf>> {
    let mut modules: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let files = modules.entry(name).or_default();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    for own in ["mod", "lib", "main", "tests"] {
        modules.remove(own);
    }
    modules
}

/// The siblings that a file of a module in `dir` imports from.
fn siblings(dir: &Path, file: &Path) -> BTreeSet<String> {
    let below = file.strip_prefix(dir).unwrap().components().count();
    let is_root = file.file_name().unwrap() == "mod.rs";
    let relative = "super::".repeat(if is_root { below - 1 } else { below });
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let absolute = dir.strip_prefix(source).ok().map(|path| {
        let parts = path
            .iter()
            .map(|part| format!("{}::", part.to_string_lossy()));
        format!("crate::{}", parts.collect::<String>())
    });
    let code = code(file);
    let mut names = BTreeSet::new();
    for path in [Some(relative), absolute].into_iter().flatten() {
        for (at, _) in code.match_indices(&path) {
            if !code[..at].ends_with("super::") {
                names.extend(items(&code[at + path.len()..]));
            }
        }
    }
    names
}

/// The first names of what is imported: of one item, or of each in braces.
fn items(rest: &str) -> BTreeSet<String> {
    let Some(list) = rest.strip_prefix('{') else {
        return BTreeSet::from([first(rest)]);
    };
    let (mut depth, mut item, mut names) = (1, String::new(), BTreeSet::new());
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && c == ',') {
            names.insert(first(item.trim()));
            item.clear();
        } else {
            item.push(c);
        }
        if depth == 0 {
            break;
        }
    }
    names
}

/// Everything that `from` reaches by one import or several.
fn reached(from: &str, imports: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<_> = imports[from].iter().cloned().collect();
    while let Some(name) = next.pop() {
        if reached.insert(name.clone()) {
            next.extend(imports.get(&name).into_iter().flatten().cloned());
        }
    }
    reached
}

#[test]
fn no_siblings_import_from_each_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut circles = BTreeSet::new();
    let mut seen = 0;
    for top in ["src", "cli/src"] {
        let dirs: BTreeSet<_> = sources(&root.join(top))
            .iter()
            .filter_map(|file| file.parent().map(Path::to_path_buf))
            .collect();
        for dir in dirs {
            let modules = modules(&dir);
            let imports: BTreeMap<_, BTreeSet<_>> = modules
                .iter()
                .map(|(name, files)| {
                    let all = files.iter().flat_map(|file| siblings(&dir, file));
                    let others = all.filter(|other| other != name && modules.contains_key(other));
                    (name.clone(), others.collect())
                })
                .collect();
            seen += imports.values().map(BTreeSet::len).sum::<usize>();
            for name in imports.keys() {
                let circle: Vec<_> = reached(name, &imports)
                    .into_iter()
                    .filter(|other| reached(other, &imports).contains(name))
                    .collect();
                if !circle.is_empty() {
                    circles.insert(format!("{}: {}", dir.display(), circle.join(", ")));
                }
            }
        }
    }
    assert!(seen > 100, "the scan finds nothing any more");
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn protocol_logic_does_no_io() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for layer in ["frame", "handshake"] {
        for path in sources(&src.join(layer)) {
            let code = code(&path);
            for outside in OUTSIDE {
                assert!(
                    !code.contains(outside),
                    "{}: uses {outside}",
                    path.display()
                );
            }
        }
    }
}

/// A `select!` that decides by chance could not be repeated by the simulation.
#[test]
fn every_select_is_biased() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = 0;
    for path in sources(&src) {
        let code = code(&path);
        for (at, select) in code.match_indices("select! {") {
            seen += 1;
            let body = code[at + select.len()..].trim_start();
            assert!(body.starts_with("biased;"), "{}", path.display());
        }
    }
    assert!(seen > 5, "the scan finds nothing any more");
}
