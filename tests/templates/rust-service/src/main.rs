//! Answers at the port that PORT names.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};

fn main() -> io::Result<()> {
    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    let listener = TcpListener::bind(format!("0.0.0.0:{port}"))?;
    for stream in listener.incoming() {
        if let Err(error) = stream.and_then(serve) {
            eprintln!("{error}");
        }
    }
    Ok(())
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let (status, text) = answer(first.split(' ').nth(1).unwrap_or_default());
    let length = text.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
    )
}

/// Returns what the service says to a path: status and text.
fn answer(path: &str) -> (&'static str, &'static str) {
    match path {
        "/" => ("200 OK", "orders in Rust\n"),
        "/health" => ("200 OK", "ok\n"),
        _ => ("404 Not Found", "no such page\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::answer;

    #[test]
    fn health_is_well() {
        assert_eq!(answer("/health"), ("200 OK", "ok\n"));
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        assert_eq!(answer("/nothing").0, "404 Not Found");
    }
}
