//! `docs/guides/gunicorn.md` and `docs/guides/uvicorn.md`.

use std::os::unix::fs::symlink;

use crate::harness::{Guide, root, skipped, source};
use crate::load::{CLIENTS, Load};
use crate::net::get;

/// Where `.ci/run` installs what the guides have installed into `.venv`.
const VENV: &str = "target/ci-tools/venv";

/// The guide with its virtual environment, if that is there.
fn begin(name: &str) -> Option<Guide> {
    let venv = root().join(VENV);
    if !venv.join("bin").join(name).is_file() {
        let requirements = format!("examples/guides/{name}/requirements.txt");
        skipped(name, name, &format!("python3 -m venv {VENV} && {VENV}/bin/pip install -r {requirements}"));
        return None;
    }
    let guide = Guide::new(name);
    symlink(venv, guide.path(".venv")).unwrap();
    Some(guide)
}

#[test]
fn gunicorn_fails_no_request_while_it_restarts() {
    let Some(mut guide) = begin("gunicorn") else { return };
    let port = guide.port("PORT");
    guide.up();
    guide.wait_ready("web", 1);
    assert_eq!(get(port, "/life").unwrap(), "hello from /life\n");
    let load = Load::begin(port, "/");
    for run in 2..12 {
        load.goes_on();
        let text = guide.read("app.py");
        let (_, rest) = text.split_once('\n').unwrap();
        guide.save("app.py", &format!("greeting = \"run {run}\"\n{rest}"));
        guide.wait_ready("web", run);
        assert_eq!(get(port, "/").unwrap(), format!("run {run} from /\n"));
    }
    load.goes_on();
    assert_eq!(load.end(), [""; 0]);

    guide.save("app.py", "import nothing_of_that_name\n");
    guide.wait_failed_build("web");
    assert_eq!(get(port, "/").unwrap(), "run 11 from /\n", "what ran goes on");
    guide.save("app.py", &std::fs::read_to_string(source("gunicorn").join("app.py")).unwrap());
    guide.wait_ready("web", 12);

    guide.crash("web");
    assert_eq!(get(port, "/").unwrap(), "hello from /\n", "it waited for the next run");
    guide.wait_ready("web", 13);
    guide.stop();
    assert!(get(port, "/").unwrap_err().starts_with("connect:"));
}

#[test]
fn uvicorn_refuses_nobody_while_it_restarts_and_goes_on_counting() {
    let Some(mut guide) = begin("uvicorn") else { return };
    let port = guide.port("PORT");
    guide.up();
    guide.wait_ready("web", 1);
    assert_eq!(get(port, "/").unwrap(), "hello, visit 1\n");
    let load = Load::begin(port, "/health");
    for run in 2..12 {
        load.goes_on();
        guide.change("app.py", "hello", "hello!");
        guide.wait_ready("web", run);
    }
    load.goes_on();
    // What uvicorn has accepted but not read, it closes when it is told to stop: the guide says so.
    let failed = load.end();
    assert!(failed.iter().all(|why| why.starts_with("after the connection was accepted")), "{failed:#?}");
    assert!(failed.len() <= 10 * CLIENTS, "one a client and restart, at the very most: {failed:#?}");
    assert_eq!(get(port, "/").unwrap(), "hello!!!!!!!!!!, visit 2\n");
    guide.stop();

    guide.up();
    guide.wait_ready("web", 12);
    assert_eq!(get(port, "/").unwrap(), "hello!!!!!!!!!!, visit 3\n");
    guide.stop();
}
