//! `docs/guides/vite.md`.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::symlink;

use crate::harness::{Guide, PATIENCE, find, root, skipped, wait_for};
use crate::net::get;

/// Where `.ci/run` installs what the guide has installed.
const MODULES: &str = "target/ci-tools/node";

#[test]
fn the_page_and_its_hot_updates_come_through_the_proxy() {
    let modules = root().join(MODULES).join("node_modules");
    if find("node", &[]).is_none() || !modules.join(".bin/vite").is_file() {
        let get = format!(
            "mkdir -p {MODULES} && cp examples/guides/vite/package.json {MODULES} && npm install --prefix {MODULES}"
        );
        return skipped("vite", "vite", &get);
    }
    let mut guide = Guide::new("vite");
    symlink(modules, guide.path("node_modules")).unwrap();
    let port = guide.port("PORT");
    guide.port("VITE_PORT");
    guide.up();
    guide.wait_ready("vite", 1);
    guide.wait_ready("front", 1);
    assert!(get(port, "/").unwrap().contains("/@vite/client"));
    assert!(get(port, "/src/main.js").unwrap().contains("\"hello\""));

    let mut hot = hot_updates(port);
    assert!(message(&mut hot).contains("\"connected\""));
    guide.change("src/main.js", "\"hello\"", "\"good morning\"");
    let update = wait_for("an update", || Some(message(&mut hot)).filter(|text| text.contains("update")));
    assert!(update.contains("/src/main.js"), "{update}");
    assert!(get(port, "/src/main.js").unwrap().contains("\"good morning\""));

    // The page is asked for while Vite is down, and comes.
    guide.crash("vite");
    assert!(get(port, "/").unwrap().contains("/@vite/client"));
    guide.wait_ready("vite", 2);
    guide.wait_ready("front", 1);
    guide.stop();
}

/// A WebSocket as the page opens it: at the address it came from, with the token that its client script holds.
fn hot_updates(port: u16) -> TcpStream {
    let client = get(port, "/@vite/client").unwrap();
    let token = client.split("const wsToken = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "GET /?token={token} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: vite-hmr\r\n\r\n"
    )
    .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(byte(&mut stream));
    }
    let head = String::from_utf8_lossy(&head);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream
}

/// The next message: one frame, not masked, as servers send them.
fn message(stream: &mut TcpStream) -> String {
    let _opcode = byte(stream);
    let length = match byte(stream) {
        126 => u64::from(u16::from_be_bytes([byte(stream), byte(stream)])),
        127 => panic!("a longer message than any of Vite's"),
        short => u64::from(short),
    };
    let mut text = String::new();
    stream.take(length).read_to_string(&mut text).unwrap();
    text
}

fn byte(stream: &mut TcpStream) -> u8 {
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    byte[0]
}
