//! The witness: somebody outside who takes down what this unit did.
//!
//! One connection for as long as the unit lives, so that its end tells the unit's own. A
//! line is said, and answered when it is taken down.

use std::io;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::knobs::Knobs;

pub struct Witness(Option<Mutex<BufReader<TcpStream>>>);

impl Witness {
    /// Says where it will listen, and which version it is. The witness may answer that this
    /// unit is to be spared what is bad about its version.
    pub async fn connect(knobs: &mut Knobs) -> io::Result<Self> {
        let Some(address) = &knobs.witness else { return Ok(Self(None)) };
        let stream = TcpStream::connect(address).await.map_err(|error| {
            io::Error::new(error.kind(), format!("the witness at {address}: {error}"))
        })?;
        stream.set_nodelay(true)?;
        let own = stream.local_addr()?.ip();
        let witness = Self(Some(Mutex::new(BufReader::new(stream))));
        let hello = format!("hello {own}:{} {}", knobs.port, knobs.version);
        match witness.ask(&hello).await.as_deref() {
            Some("spared") => knobs.spare(),
            Some(_) => {}
            None => return Err(io::Error::other(format!("the witness at {address} is gone"))),
        }
        Ok(witness)
    }

    /// Returns whether it was taken down.
    pub async fn say(&self, line: &str) -> bool {
        self.0.is_none() || self.ask(line).await.is_some()
    }

    async fn ask(&self, line: &str) -> Option<String> {
        let connection = self.0.as_ref()?;
        let mut connection = connection.lock().await;
        let line = format!("{line}\n");
        connection.get_mut().write_all(line.as_bytes()).await.ok()?;
        let mut answer = String::new();
        let read = connection.read_line(&mut answer).await.ok()?;
        (read > 0).then(|| answer.trim_end().to_owned())
    }
}
