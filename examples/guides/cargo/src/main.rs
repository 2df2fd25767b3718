use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::FromRawFd as _;

const GREETING: &str = "hello";

fn main() -> std::io::Result<()> {
    // SAFETY: it is the first of `sockets`, and nobody else in this process has it.
    let listener = unsafe { TcpListener::from_raw_fd(3) };
    for stream in listener.incoming() {
        // A browser that goes away is no reason to end.
        if let Err(error) = stream.and_then(answer) {
            eprintln!("a request failed: {error}");
        }
    }
    Ok(())
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = BufReader::new(stream.try_clone()?).lines();
    while head.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let body = format!("{GREETING}\n");
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}
