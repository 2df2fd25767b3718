//! `docs/guides/node.md`.

use crate::harness::{Guide, find, skipped, wait_until};
use crate::load::Load;
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
    guide.change("lib/greeting.js", "hello", "good morning");
    guide.wait_ready("web", 2);
    load.goes_on();
    // What Node has accepted but not read, it may close when it is told to stop.
    let failed = load.end();
    assert!(failed.iter().all(|why| why.starts_with("after the connection was accepted")), "{failed:#?}");
    assert!(failed.len() <= 4, "one a client, at the very most: {failed:#?}");
    assert_eq!(get(port, "/").unwrap(), "good morning, visit 2\n");

    let sound = guide.read("server.js");
    guide.save("server.js", "this is no JavaScript\n");
    wait_until("it fails", || guide.place("web", 3, "component.exited").is_some());
    // Whoever comes now waits for the next one that serves.
    let waits = std::thread::spawn(move || get(port, "/"));
    guide.save("server.js", &sound);
    // With what count depends on how often it failed before: a state that two runs failed with is set aside.
    assert!(waits.join().unwrap().unwrap().starts_with("good morning, visit "));
    guide.stop();
}
