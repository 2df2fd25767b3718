//! `docs/guides/node.md`.

use crate::harness::{Guide, find, skipped};
use crate::load::{CLIENTS, Load};
use crate::net::get;

#[test]
fn a_saved_module_restarts_the_server_which_goes_on_counting() {
    if find("node", &[]).is_none() {
        return skipped("node", "node", "apt-get install nodejs");
    }
    let mut guide = Guide::new("node");
    let port = guide.port("PORT");
    guide.up();
    guide.wait_ready("web", 1);
    assert_eq!(get(port, "/").unwrap(), "hello, visit 1\n");

    let load = Load::begin(port, "/health");
    load.goes_on();
    guide.change("app.js", "hello", "good morning");
    guide.wait_ready("web", 2);
    load.goes_on();
    // What Node has accepted but not read, it may close when it is told to stop.
    let failed = load.end();
    assert!(failed.iter().all(|why| why.starts_with("after the connection was accepted")), "{failed:#?}");
    assert!(failed.len() <= CLIENTS, "one a client, at the very most: {failed:#?}");
    assert_eq!(get(port, "/").unwrap(), "good morning, visit 2\n");

    guide.change("app.js", "export", "this is no JavaScript: export");
    guide.wait_failed_build("web");
    assert_eq!(get(port, "/").unwrap(), "good morning, visit 3\n");
    guide.change("app.js", "this is no JavaScript: export", "export /* sound */");
    guide.wait_ready("web", 3);
    assert_eq!(get(port, "/").unwrap(), "good morning, visit 4\n");

    guide.crash("web");
    assert!(get(port, "/").unwrap().starts_with("good morning, visit "), "it waited for the next run");
    guide.wait_ready("web", 4);
    guide.stop();
}
