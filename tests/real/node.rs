//! `docs/guides/node.md`.

use crate::harness::{Guide, find, skipped, wait_until};
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

    guide.change("lib/greeting.js", "hello", "good morning");
    guide.wait_ready("web", 2);
    assert_eq!(get(port, "/").unwrap(), "good morning, visit 2\n");

    let sound = guide.read("server.js");
    guide.save("server.js", "this is no JavaScript\n");
    wait_until("it fails", || guide.place("web", 3, "component.exited").is_some());
    guide.save("server.js", &sound);
    wait_until("the sound one serves", || get(port, "/").is_ok_and(|body| body == "good morning, visit 3\n"));
    guide.stop();
}
