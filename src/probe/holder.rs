//! Who else answers at a probe's address before the component is started.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread::Builder;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::net;
use crate::config::model::HostPort;

/// A listener on this machine accepts within microseconds; one that is slower is not waited for.
const ASK: Duration = Duration::from_millis(250);
/// Looking through all processes ends here; the holder stays unnamed.
const LOOK: Duration = Duration::from_millis(500);

/// Before the start: whether something already listens where a probe will ask, and who, as a fragment:
/// `port 8080 is in use by python3 (pid 123)`. It answers within a few milliseconds when
/// nothing listens on this machine, and blocks nothing.
///
/// `own` are the sockets that are bound for the component itself: what answers there is their backlog.
pub async fn occupied(at: &HostPort, own: &[SocketAddr]) -> Option<String> {
    let mut asked = timeout(ASK, net::resolve(at)).await.ok()?.ok()?;
    asked.retain(|address| !own.iter().any(|own| serves(*own, *address)));
    let answered = match timeout(ASK, net::connect(&asked)).await {
        Ok(Ok(stream)) => stream.peer_addr().ok(),
        Ok(Err(_)) => return None,
        // Far away, or a listener whose backlog is full; the second can be found below.
        Err(_) => None,
    };
    let who = holder_of_port(answered.or_else(|| asked.first().copied())?).await;
    match (who, answered) {
        (Some(who), _) => Some(format!("port {} is in use by {who}", at.port)),
        (None, Some(_)) => {
            Some(format!("something that can't be named already answers at {}", net::shown(at)))
        }
        (None, None) => None,
    }
}

/// Whether a listener bound to `bound` answers at `asked`.
fn serves(bound: SocketAddr, asked: SocketAddr) -> bool {
    let (here, there) = (bound.ip().to_canonical(), asked.ip().to_canonical());
    let anywhere = match here {
        IpAddr::V4(ip) => ip.is_unspecified() && there.is_ipv4(),
        IpAddr::V6(ip) => ip.is_unspecified(),
    };
    bound.port() == asked.port() && (anywhere || there.is_unspecified() || here == there)
}

/// Who listens at a TCP address of this machine, or at one that takes it in: `python3 (pid 123)`, and what more is
/// known. `None`: nobody, or somebody whose descriptors are not ours to see.
pub async fn holder_of_port(address: SocketAddr) -> Option<String> {
    look_up(move || holder(address)).await
}

/// The same, for a thread that may wait: it reads the tables of all processes, which takes some milliseconds.
#[must_use]
pub fn holder(address: SocketAddr) -> Option<String> {
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let lines = tables.iter().flat_map(|table| table.lines()).filter_map(entry);
    let there: Vec<Entry> = lines.filter(|entry| serves(entry.address, address)).collect();
    let some = |listens: bool| {
        let some = there.iter().filter(|entry| entry.listens == listens);
        owner(&some.map(|entry| entry.inode).collect())
    };
    // A connection from that port keeps others from it, too.
    some(true).or_else(|| some(false))
}

/// The same of a Unix socket, by its path.
pub async fn holder_of_path(path: &Path) -> Option<String> {
    let path = path.to_path_buf();
    look_up(move || {
        let table = fs::read("/proc/net/unix").unwrap_or_default();
        let lines = table.split(|byte| *byte == b'\n').filter_map(unix_listener);
        let named = |name: &[u8]| name == path.as_os_str().as_bytes();
        owner(&lines.filter(|(name, _)| named(name)).map(|(_, inode)| inode).collect())
    })
    .await
}

/// The holder's name, found on a thread of its own: there may be many processes to look through.
async fn look_up(look: impl FnOnce() -> Option<String> + Send + 'static) -> Option<String> {
    let (answer, answered) = oneshot::channel();
    let looking = Builder::new().name("orch-holder".to_owned()).spawn(move || {
        // The asker may have given up.
        let _ = answer.send(look());
    });
    looking.ok()?;
    timeout(LOOK, answered).await.ok()?.ok()?
}

/// Which process has one of these sockets open.
fn owner(inodes: &BTreeSet<u64>) -> Option<String> {
    if inodes.is_empty() {
        return None;
    }
    let mut holders: Vec<u32> = processes().filter(|pid| holds(*pid, inodes)).collect();
    // A server and its workers share the socket; the server is the oldest.
    holders.sort_unstable();
    let own = std::process::id();
    let others = holders.iter().filter(|pid| **pid != own);
    let of = |pid: &u32| component(&fs::read(format!("/proc/{pid}/environ")).unwrap_or_default());
    // What another orch has bound, it has, too; the component says more.
    let other = others.clone().find_map(|pid| Some((pid, of(pid)?)));
    match other.map(|(pid, of)| (pid, format!(", {of}"))).or_else(|| Some((others.min()?, String::new()))) {
        Some((pid, of)) => Some(format!("{} (pid {pid}){of}", command(*pid))),
        None => holders.first().map(|pid| format!("orch itself (pid {pid})")),
    }
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Whether the process has one of these sockets open; false where that is not ours to see.
fn holds(pid: u32, inodes: &BTreeSet<u64>) -> bool {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    open.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| {
        let inode =
            target.as_os_str().as_bytes().strip_prefix(b"socket:[").and_then(|t| t.strip_suffix(b"]"));
        inode
            .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok())
            .is_some_and(|inode| inodes.contains(&inode))
    })
}

fn command(pid: u32) -> String {
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name: String = String::from_utf8_lossy(&name).trim_end().escape_debug().collect();
    if name.is_empty() { "a process".to_owned() } else { name }
}

/// Which component a process is, by the environment that it was started with: the other stack of two worktrees,
/// mostly. That is a hint for people, and proves nothing.
fn component(environ: &[u8]) -> Option<String> {
    let value = |name: &str| {
        let entries = environ.split(|byte| *byte == 0);
        let value =
            entries.filter_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")).next()?;
        Some(String::from_utf8_lossy(value).escape_debug().to_string())
    };
    let (component, control) = (value("ORCH_COMPONENT")?, value("ORCH_CONTROL")?);
    let state_dir = Path::new(&control).parent()?;
    let folder = if state_dir.ends_with(".orch") { state_dir.parent()? } else { state_dir };
    Some(format!("`{component}` of the orch project in {}", folder.display()))
}

/// A socket in `/proc/net/tcp` or `tcp6`.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    listens: bool,
    /// Its own.
    address: SocketAddr,
    inode: u64,
}

/// From a line of these.
fn entry(line: &str) -> Option<Entry> {
    let mut fields = line.split_ascii_whitespace();
    let (local, state) = (fields.nth(1)?, fields.nth(1)?);
    let (ip, port) = local.split_once(':')?;
    let address = SocketAddr::new(address(ip)?, u16::from_str_radix(port, 16).ok()?);
    Some(Entry { listens: state == "0A", address, inode: fields.nth(5)?.parse().ok()? })
}

/// The path and the inode of a listening Unix socket, from a line of `/proc/net/unix`.
fn unix_listener(line: &[u8]) -> Option<(&[u8], u64)> {
    /// What the kernel shows for a socket that listens (`__SO_ACCEPTCON`).
    const LISTENS: &[u8] = b"00010000";
    // Num, RefCount, Protocol, Flags, Type, St, Inode (padded), Path.
    let mut fields = line.splitn(7, |byte| *byte == b' ');
    let (flags, rest) = (fields.nth(3)?, fields.nth(2)?.trim_ascii_start());
    let (inode, path) = rest.split_at(rest.iter().position(|byte| *byte == b' ')?);
    let inode = std::str::from_utf8(inode).ok()?.parse().ok()?;
    (flags == LISTENS).then_some((path.get(1..)?, inode))
}

/// An address as the kernel prints it: each four bytes as one number of the machine's byte order.
fn address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (at, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at * 8)?);
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, component, entry, serves, unix_listener};

    #[test]
    fn a_component_of_another_project_is_named() {
        let named = |control: &str| component(format!("A=1\0ORCH_COMPONENT=api\0{control}").as_bytes());
        let expected = "`api` of the orch project in /srv/two".to_owned();
        assert_eq!(named("ORCH_CONTROL=/srv/two/.orch/control.sock\0"), Some(expected));
        let expected = "`api` of the orch project in /run/st\\u{1b}".to_owned();
        assert_eq!(named("ORCH_CONTROL=/run/st\u{1b}/control.sock"), Some(expected));
        assert_eq!(named("PATH=/bin\0"), None);
        assert_eq!(component(b""), None);
    }

    #[test]
    fn a_line_of_the_kernels_table() {
        let v4 =
            "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 4711 1 0 100";
        let v6 = "   1: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A \
                  00000000:00000000 00:00000000 00000000  0        0 99 1";
        if cfg!(target_endian = "little") {
            let listener = |address: &str, inode| {
                Some(Entry { listens: true, address: address.parse().unwrap(), inode })
            };
            assert_eq!(entry(v4), listener("127.0.0.1:8080", 4711));
            assert_eq!(entry(v6), listener("[::1]:80", 99));
        }
        let connection = entry(&v4.replace(" 0A ", " 01 "));
        assert!(!connection.unwrap().listens, "a connection is no listener");
        for broken in ["", "sl local_address", "0: X:Y 0 0A", "0: é0007F:1F90 0 0A 0 0 0 0 0 1"] {
            assert_eq!(entry(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_line_of_the_kernels_table_of_unix_sockets() {
        let line = b"000000005d4b4a6e: 00000002 00000000 00010000 0001 01  1056 /tmp/a b.sock";
        assert_eq!(unix_listener(line), Some((&b"/tmp/a b.sock"[..], 1056)));
        let line = b"000000005d4b4a6e: 00000002 00000000 00010000 0001 01 4138672 @abstract";
        assert_eq!(unix_listener(line), Some((&b"@abstract"[..], 4_138_672)));
        for other in [
            &b"000000005d4b4a6e: 00000003 00000000 00000000 0001 03  1056 /tmp/a.sock"[..],
            b"000000005d4b4a6e: 00000002 00000000 00010000 0001 01  1056",
            b"Num       RefCount Protocol Flags    Type St Inode Path",
            b"",
        ] {
            assert_eq!(unix_listener(other), None);
        }
    }

    #[test]
    fn which_listener_answers_where() {
        let serves = |bound: &str, asked: &str| serves(bound.parse().unwrap(), asked.parse().unwrap());
        assert!(serves("127.0.0.1:80", "127.0.0.1:80") && serves("0.0.0.0:80", "127.0.0.1:80"));
        assert!(serves("[::]:80", "127.0.0.1:80") && serves("[::]:80", "[::1]:80"));
        assert!(serves("[::ffff:127.0.0.1]:80", "127.0.0.1:80") && serves("127.0.0.1:80", "0.0.0.0:80"));
        assert!(!serves("127.0.0.1:80", "127.0.0.1:81") && !serves("127.0.0.1:80", "[::1]:80"));
        assert!(!serves("0.0.0.0:80", "[::1]:80") && !serves("127.0.0.2:80", "127.0.0.1:80"));
    }
}
