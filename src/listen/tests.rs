use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};

use super::{Cid, Key, Name, PathBuf, SocketAddr, Sockets, Why, bind, meet};

fn any() -> Key {
    Key::Any("127.0.0.1:0".parse().unwrap(), Name::new("api").unwrap(), "http".to_owned())
}

fn tcp(sockets: &Sockets, of: Cid) -> SocketAddr {
    sockets.addresses(of)[0]
}

fn other(why: Why) -> String {
    match why {
        Why::Other(text) => text,
        Why::InUse(_) | Why::Answers(_) => panic!("{why:?}"),
    }
}

#[test]
fn connections_wait_until_somebody_accepts_them() {
    let mut sockets = Sockets::default();
    sockets.add(any(), Cid(1), bind(&any()).unwrap());
    let address = tcp(&sockets, Cid(1));
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"hello").unwrap();
    let listener = TcpListener::from(sockets.0[&any()].1.for_a_run().unwrap());
    let mut greeting = [0; 5];
    listener.accept().unwrap().0.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"hello");
    drop(listener);
    TcpStream::connect(address).unwrap();
    drop(sockets.take(&any()));
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_run_gets_a_socket_that_blocks() {
    let bound = bind(&any()).unwrap();
    let first = TcpListener::from(bound.for_a_run().unwrap());
    first.set_nonblocking(true).unwrap();
    let second = bound.for_a_run().unwrap();
    assert!(!rustix::fs::fcntl_getfl(&second).unwrap().contains(rustix::fs::OFlags::NONBLOCK));
    assert!(rustix::io::fcntl_getfd(&second).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
}

#[test]
fn accepted_connections_delay_nothing() {
    let bound = bind(&any()).unwrap();
    let listener = TcpListener::from(bound.for_a_run().unwrap());
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    assert!(listener.accept().unwrap().0.nodelay().unwrap());
}

#[test]
fn an_address_that_somebody_has_is_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    assert_eq!(bind(&Key::Tcp(address)).err(), Some(Why::InUse(address)));
    let all = SocketAddr::new([0, 0, 0, 0].into(), address.port());
    assert_eq!(bind(&Key::Tcp(all)).err(), Some(Why::InUse(all)));
    drop(taken);
    let mut sockets = Sockets::default();
    sockets.add(Key::Tcp(all), Cid(7), bind(&Key::Tcp(all)).unwrap());
    assert_eq!((sockets.at(address), sockets.at(SocketAddr::new(address.ip(), 1))), (Some(Cid(7)), None));
}

#[test]
fn what_can_not_be_bound_says_why() {
    let why = |address: &str| other(bind(&Key::Tcp(address.parse().unwrap())).err().unwrap());
    assert!(why("203.0.113.9:4711").contains("does not have the address 203.0.113.9"));
    assert!(why("[fe80::1]:4711").contains("link-local") || why("[fe80::1]:4711").contains("IPv6"));
}

#[test]
fn all_of_the_sixth_version_is_all_of_the_fourth_too() {
    let Ok(bound) = bind(&Key::Any("[::]:0".parse().unwrap(), Name::new("api").unwrap(), "s".into())) else {
        return;
    };
    let mut sockets = Sockets::default();
    sockets.add(any(), Cid(1), bound);
    let port = tcp(&sockets, Cid(1)).port();
    TcpStream::connect(("127.0.0.1", port)).unwrap();
}

#[test]
fn a_path_is_made_and_taken_away_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run/deep/api.sock");
    let bound = bind(&Key::Unix(path.clone())).unwrap();
    UnixStream::connect(&path).unwrap();
    assert_eq!(bind(&Key::Unix(path.clone())).err(), Some(Why::Answers(path.clone())));
    assert!(bound.is_reachable());
    drop(bound);
    assert!(!path.exists());
}

#[test]
fn what_a_dead_one_left_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let bound = bind(&Key::Unix(path.clone())).unwrap();
    UnixStream::connect(&path).unwrap();
    // Somebody else takes the path: that is theirs then.
    fs::remove_file(&path).unwrap();
    let theirs = UnixListener::bind(&path).unwrap();
    assert!(!bound.is_reachable());
    drop(bound);
    assert!(path.exists());
    UnixStream::connect(&path).unwrap();
    drop(theirs);
}

#[test]
fn nothing_is_removed_that_is_no_socket() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("file"), "text").unwrap();
    fs::create_dir(at("folder")).unwrap();
    symlink(at("nowhere"), at("link")).unwrap();
    let why = |path: PathBuf| other(bind(&Key::Unix(path)).err().unwrap());
    assert!(why(at("file")).starts_with("a file is there"));
    assert!(why(at("folder")).starts_with("a folder is there"));
    assert!(why(at("link")).starts_with("a symbolic link is there"));
    assert!(why(at("file/api.sock")).starts_with("can't make the folder"));
    assert!(fs::read(at("file")).is_ok() && at("folder").is_dir() && at("link").is_symlink());
}

#[test]
fn another_image_goes_on_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    let (mut sockets, file) = (Sockets::default(), Key::Unix(path.clone()));
    sockets.add(any(), Cid(1), bind(&any()).unwrap());
    sockets.add(file.clone(), Cid(2), bind(&file).unwrap());
    let address = tcp(&sockets, Cid(1));
    let (written, fds) = sockets.hand_over().unwrap();
    let text = serde_json::to_string(&written).unwrap();
    let adopted = Sockets::adopt(serde_json::from_str(&text).unwrap(), fds).unwrap();
    // The old image is gone without a word.
    std::mem::forget(sockets);
    assert_eq!((adopted.owner(&any()), adopted.owner(&file)), (Some(Cid(1)), Some(Cid(2))));
    assert_eq!(tcp(&adopted, Cid(1)), address);
    drop(adopted);
    assert!(!path.exists());
    assert!(Sockets::adopt(serde_json::from_str(&text).unwrap(), Vec::new()).is_err());
}

#[test]
fn which_addresses_exclude_each_other() {
    let meet = |one: &str, other: &str| meet(one.parse().unwrap(), other.parse().unwrap());
    assert!(meet("127.0.0.1", "127.0.0.1") && meet("0.0.0.0", "127.0.0.1") && meet("127.0.0.1", "0.0.0.0"));
    assert!(meet("::", "127.0.0.1") && meet("::1", "::") && meet("::", "0.0.0.0"));
    assert!(meet("::ffff:127.0.0.1", "127.0.0.1"));
    assert!(!meet("127.0.0.1", "127.0.0.2") && !meet("0.0.0.0", "::1") && !meet("::1", "127.0.0.1"));
}
