//! What a file means: defaults, environments, variables, paths; and how its mistakes are shown.

mod growth;
mod places;
mod rules;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::model::{Command, Component, Kind, Logs, Project, Restart, RestartPolicy, State, Stop};
use super::{LoadOptions, Loaded, find, load, render, schema};
use crate::types::Signal;

/// A project in a folder of its own.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            std::fs::write(folder.path(name), text).unwrap();
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn load(&self, environment: &[(&str, &str)]) -> Loaded {
        let mut options = LoadOptions::default();
        options.environment.insert("PATH".into(), "/usr/bin:/bin".into());
        options.environment.extend(environment.iter().map(|(name, value)| (name.into(), value.into())));
        load(&self.path("devmode.yaml"), &options)
    }
}

fn project_of(yaml: &str) -> Project {
    project_in(&Folder::new(&[("devmode.yaml", yaml)]), &[])
}

fn project_in(folder: &Folder, environment: &[(&str, &str)]) -> Project {
    let loaded = folder.load(environment);
    let shown = render::human(&loaded.diagnostics, &loaded.sources, false);
    loaded.project.unwrap_or_else(|| panic!("{shown}"))
}

fn component<'p>(project: &'p Project, name: &str) -> &'p Arc<Component> {
    project.components.iter().find(|component| component.name.as_str() == name).unwrap()
}

fn codes(loaded: &Loaded) -> Vec<&str> {
    loaded.diagnostics.iter().map(|diagnostic| diagnostic.code).collect()
}

#[test]
fn defaults_are_merged_key_by_key_and_shared() {
    let project = project_of(
        "version: 1
defaults:
  restart: { success_codes: [0, 3], backoff: { initial: 1s, factor: 3 } }
  stop: { timeout: 2s, signal: SIGINT }
  watch: { ignore: ['*.tmp'], paths: [lib] }
  logs: { keep: 7 }
components:
  plain: { thread: ticker }
  again: { thread: ticker }
  own:
    thread: ticker
    restart: { success_codes: [5], backoff: { factor: 1.5 } }
    stop: { timeout: 9s }
    watch: [src]
    logs: { max_size: 1KiB }
  short: { thread: ticker, restart: always }
  off: { thread: ticker, restart: false, stop: false, watch: false, logs: false }
",
    );
    let (plain, again) = (component(&project, "plain"), component(&project, "again"));
    assert!(Arc::ptr_eq(&plain.stop, &again.stop) && Arc::ptr_eq(&plain.restart, &again.restart));
    assert_eq!(plain.stop.signal, Signal::INT);
    assert_eq!(plain.watch.as_ref().unwrap().paths, ["lib"]);

    let own = component(&project, "own");
    assert_eq!(own.restart.success_codes, [5]);
    assert_eq!(own.restart.backoff.initial, Duration::from_secs(1));
    assert!((own.restart.backoff.factor - 1.5).abs() < f64::EPSILON);
    assert_eq!((own.stop.timeout, own.stop.signal), (Duration::from_secs(9), Signal::INT));
    let watch = own.watch.as_ref().unwrap();
    assert_eq!((&watch.paths[..], &watch.ignore[..]), (&["src".to_owned()][..], &["*.tmp".to_owned()][..]));
    assert_eq!((own.logs.max_size, own.logs.keep), (1024, 7));

    let short = component(&project, "short");
    assert_eq!(
        (short.restart.policy, &short.restart.success_codes[..]),
        (RestartPolicy::Always, &[0, 3][..])
    );

    let off = component(&project, "off");
    assert_eq!(off.restart.policy, RestartPolicy::Never);
    assert_eq!((&*off.stop, &*off.logs, &off.watch), (&Stop::default(), &Logs::default(), &None));
}

/// The defaults that editors show are those of the model.
#[test]
fn the_defaults_of_the_schema_are_the_loaders() {
    let bare = project_of("version: 1\ncomponents:\n  a: { process: sh, state: true, watch: [x] }\n");
    let schema = schema();
    let properties = |section: &serde_json::Value| section["properties"].clone();
    let component_keys = properties(&schema["$defs"]["component"]);
    let written = |keys: &serde_json::Value| -> serde_json::Map<String, serde_json::Value> {
        let keys = keys.as_object().unwrap().iter();
        keys.filter_map(|(key, schema)| Some((key.clone(), schema.get("default")?.clone()))).collect()
    };
    let section = |key: &str| properties(&component_keys[key]["anyOf"][0]);
    let mut all = written(&component_keys);
    for key in ["restart", "stop", "watch", "state", "logs"] {
        all.insert(key.into(), written(&section(key)).into());
    }
    all["restart"]["backoff"] = written(&properties(&section("restart")["backoff"])).into();
    all["restart"]["limit"] = written(&properties(&section("restart")["limit"])).into();
    all["watch"]["paths"] = serde_json::json!(["x"]);
    all.insert("process".into(), "sh".into());
    let file = serde_json::json!({
        "version": 1,
        "shutdown_timeout": schema["properties"]["shutdown_timeout"]["default"],
        "components": { "a": all },
    });
    let full = project_of(&serde_json::to_string(&file).unwrap());
    let (bare_one, full_one) = (component(&bare, "a"), component(&full, "a"));
    assert_eq!((bare_one.stdin, bare_one.autostart), (full_one.stdin, full_one.autostart));
    assert_eq!((&bare_one.restart, &bare_one.on_failure), (&full_one.restart, &full_one.on_failure));
    assert_eq!(
        (&bare_one.stop, &bare_one.watch, &bare_one.logs),
        (&full_one.stop, &full_one.watch, &full_one.logs)
    );
    let state = |component: &Component| State { file: PathBuf::new(), ..*component.state.clone().unwrap() };
    assert_eq!(state(bare_one), state(full_one));
    assert_eq!(*bare_one.restart, Restart::default());
    assert_eq!(bare.shutdown_timeout, full.shutdown_timeout);
}

#[test]
fn paths_are_absolute_and_the_state_has_its_place() {
    let folder = Folder::new(&[(
        "devmode.yaml",
        "version: 1\ncomponents:\n  a: { process: sh, cwd: ., state: true, logs: { file: ../l.log } }\n  \
         b: { process: sh, state: ./x/../s.json, ready: { file: f } }\n",
    )]);
    let project = project_in(&folder, &[]);
    let dir = folder.0.path();
    assert_eq!((&*project.dir, &*project.file), (dir, &*folder.path("devmode.yaml")));
    assert_eq!(project.name, dir.file_name().unwrap().to_str().unwrap());
    let (a, b) = (component(&project, "a"), component(&project, "b"));
    assert_eq!(&**a.cwd, dir);
    assert_eq!(a.state.as_ref().unwrap().file, dir.join(".orch/data/a"));
    assert_eq!(a.logs.file.as_deref(), Some(&*dir.parent().unwrap().join("l.log")));
    assert_eq!(b.state.as_ref().unwrap().file, dir.join("s.json"));

    let options = LoadOptions { state_dir: Some("/elsewhere/../state".into()), ..LoadOptions::default() };
    let project = load(&folder.path("devmode.yaml"), &options).project.unwrap();
    assert_eq!(project.state_dir, Path::new("/state"));
    assert_eq!(component(&project, "a").state.as_ref().unwrap().file, Path::new("/state/data/a"));
}

#[test]
fn later_layers_of_the_environment_win() {
    let folder = Folder::new(&[
        (
            "devmode.yaml",
            "version: 1\nenv_file: [p.env]\nenv: { B: env, C: env, D: env, N: null }\ncomponents:\n  \
          a: { process: sh, env_file: a.env, env: { D: own, E: 1.10, F: true, G: null } }\n  b: { process: sh, env_file: a.env }\n",
        ),
        ("p.env", "A=file\nB=file\nN=file\n"),
        ("a.env", "C=own file\nD=own file\n"),
    ]);
    let project = project_in(&folder, &[]);
    let (a, b) = (component(&project, "a"), component(&project, "b"));
    let merged = a.env.merged();
    let expected = [
        ("A", Some("file")),
        ("B", Some("env")),
        ("C", Some("own file")),
        ("D", Some("own")),
        ("E", Some("1.10")),
        ("F", Some("true")),
        ("G", None),
        ("N", None),
    ];
    let found: Vec<_> = merged.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
    assert_eq!(found, expected);
    assert!(Arc::ptr_eq(&a.env.project, &b.env.project) && Arc::ptr_eq(&a.env.files, &b.env.files));
    assert_eq!(project.env_files, [folder.path("a.env"), folder.path("p.env")]);
}

#[test]
fn variables_take_the_environment_then_the_projects_env_file() {
    let yaml = "version: 1
env_file: [p.env]
components:
  a:
    process: [sh, '${WORD}', '$$HOME', $HOME, 'x${NOTHING}y']
    description: ${BOTH} ${ONLY_FILE} ${NOTHING:-default}
    autostart: ${AUTO}
    env: { EMPTY: '${NOTHING:-}', NULL: \"${NULL}\" }
    stop:
      timeout: ${TIME:-3s}
      force_kill: ${AUTO}
  b:
    thread: ticker
    with:
      list: ['${WORD}']
      number: ${NUMBER}
      text: '${NUMBER}'
      key ${WORD}: stays
";
    let folder = Folder::new(&[("devmode.yaml", yaml), ("p.env", "BOTH=file\nONLY_FILE=file\n")]);
    let environment =
        [("BOTH", "own"), ("WORD", "two words"), ("AUTO", "false"), ("NUMBER", "7"), ("NULL", "null")];
    let project = project_in(&folder, &environment);
    let a = component(&project, "a");
    let Kind::Process(Command::Words(words)) = &a.kind else { panic!("{a:?}") };
    assert_eq!(words, &["sh", "two words", "$HOME", "$HOME", "xy"]);
    assert_eq!(a.description.as_deref(), Some("own file default"));
    assert!(!a.autostart && !a.stop.force_kill);
    assert_eq!(a.stop.timeout, Duration::from_secs(3));
    assert_eq!(a.env.own["EMPTY"].as_deref(), Some(""));
    assert_eq!(a.env.own["NULL"].as_deref(), Some("null"));
    let Kind::Thread { with, .. } = &component(&project, "b").kind else { panic!() };
    let expected: serde_yaml::Value =
        serde_yaml::from_str("{list: [two words], number: 7, text: '7', 'key ${WORD}': stays}").unwrap();
    assert_eq!(with, &expected);
    let warnings = folder.load(&environment);
    assert_eq!(codes(&warnings), ["W001"]);
    assert_eq!(warnings.diagnostics[0].path, "components.a.process[4]");
}

#[test]
fn mistakes_in_shared_parts_are_told_once() {
    let mut yaml = String::from(
        "version: 1\ndefaults: { stop: { timeout: x }, watch: ['[a'] }\nx-a: &a { restart: soon }\ncomponents:\n",
    );
    for n in 0..500 {
        yaml += &format!("  c{n}: {{ <<: *a, thread: ticker }}\n");
    }
    let loaded = Folder::new(&[("devmode.yaml", &yaml)]).load(&[]);
    assert_eq!(codes(&loaded), ["E108", "E111", "E114"]);
}

#[test]
fn many_mistakes_are_all_kept_in_order() {
    let mut yaml = String::from("version: 1\ncomponents:\n");
    for n in 0..3_000 {
        yaml += &format!("  c{n}: {{ thread: ticker, depends_on: [unknown-{n}] }}\n");
    }
    let loaded = Folder::new(&[("devmode.yaml", &yaml)]).load(&[]);
    assert_eq!(loaded.diagnostics.len(), 3_000);
    let lines: Vec<_> = loaded.diagnostics.iter().map(|d| d.place.as_ref().unwrap().line).collect();
    assert!(lines.is_sorted());
}

#[test]
fn a_mistake_is_shown_in_its_line() {
    let yaml = "version: 1\ncomponents:\n  api:\n    thread: ticker\n    depend_on: [b]\n";
    let folder = Folder::new(&[("devmode.yaml", yaml)]);
    let loaded = folder.load(&[]);
    let shown = render::human(&loaded.diagnostics, &loaded.sources, false);
    let expected = format!(
        "error[E101]: unknown key `depend_on`\n --> {}:5:5\n  |\n5 |     depend_on: [b]\n  |     ^^^^^^^^^\n  |\n  \
         = help: did you mean `depends_on`?\n",
        folder.path("devmode.yaml").display()
    );
    assert_eq!(shown, expected);
    assert!(render::human(&loaded.diagnostics, &loaded.sources, true).contains("\u{1b}["));
}

#[test]
fn what_is_shown_can_do_a_terminal_no_harm() {
    let yaml =
        "version: 1\ncomponents:\n  \"a\\e]0;x\\a\": {}\n  b: {\tx: \"\\e[31m\", \u{202e}y: 1}\n".to_owned();
    let yaml = yaml + &format!("  c: {{ long: '{}', unknown: 1 }}\n", "日".repeat(5_000));
    let loaded = Folder::new(&[("devmode.yaml", &yaml)]).load(&[]);
    let shown = render::human(&loaded.diagnostics, &loaded.sources, false);
    assert!(shown.chars().all(|c| c == '\n' || !c.is_control()) && !shown.contains('\u{202e}'), "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() < 400), "{shown}");
    assert!(shown.contains(":5:5018\n"), "{shown}");
}

#[test]
fn unreadable_files() {
    let folder = Folder::new(&[("devmode.yaml", "")]);
    for path in [folder.path("none"), folder.0.path().into(), "/dev/zero".into()] {
        let loaded = load(&path, &LoadOptions::default());
        assert_eq!(codes(&loaded), ["E001"]);
        assert!(loaded.project.is_none());
    }
    assert_eq!(codes(&folder.load(&[])), ["E006"]);
    std::fs::remove_file(folder.path("devmode.yaml")).unwrap();
    std::fs::write(folder.path("real.yaml"), "version: 1\n").unwrap();
    std::os::unix::fs::symlink("real.yaml", folder.path("devmode.yaml")).unwrap();
    assert_eq!(codes(&folder.load(&[])), ["W004"]);
}

#[test]
fn the_nearest_file_is_found() {
    let folder = Folder::new(&[("orch.yaml", "version: 1\n")]);
    let deep = folder.path("a/b");
    std::fs::create_dir_all(&deep).unwrap();
    assert_eq!(find(None, &deep).unwrap(), folder.path("orch.yaml"));
    std::fs::write(folder.path("devmode.yaml"), "version: 1\n").unwrap();
    assert_eq!(find(None, &deep).unwrap(), folder.path("devmode.yaml"));
    std::fs::write(folder.path("a/orch.yaml"), "version: 1\n").unwrap();
    assert_eq!(find(None, &deep).unwrap(), folder.path("a/orch.yaml"));
    assert_eq!(find(Some(Path::new("x.yaml")), &deep).unwrap(), Path::new("x.yaml"));
    let nowhere = tempfile::tempdir().unwrap();
    assert_eq!(find(None, nowhere.path()).unwrap_err().code, "E001");
}
