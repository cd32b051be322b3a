//! What all proxies lead to: an answer of two bytes, on connections that stay.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok";
const CLOSING: &[u8] =
    b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok";

pub struct Upstream {
    port: u16,
}

impl Upstream {
    /// Answers until the process ends.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Whoever goes away in the middle has its answer or wants none.
                std::thread::spawn(move || drop(serve(stream)));
            }
        });
        Ok(Self { port })
    }

    pub const fn port(&self) -> u16 {
        self.port
    }
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let read = stream.read(&mut piece)?;
        if read == 0 {
            return Ok(());
        }
        request.extend_from_slice(&piece[..read]);
        // Requests without a body; never two at once, for nobody here sends ahead.
        if !request.ends_with(b"\r\n\r\n") {
            continue;
        }
        let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
        if text.contains("\r\nconnection: close\r\n") {
            return stream.write_all(CLOSING);
        }
        stream.write_all(ANSWER)?;
        request.clear();
    }
}
