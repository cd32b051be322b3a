//! Bytes both ways between a client and a unit, until both have said what they have to say.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use pingora_core::protocols::Stream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};

use crate::serve::counts::Outcome;

/// What is held of each direction.
const BUFFER: usize = 8 << 10;

/// How long one may go on when the other has ended: both are told, and have no more to wait for.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// One end, and what was read from it already.
pub struct End {
    pub stream: Stream,
    pub said: Bytes,
}

/// Which side a direction ended by, if not as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Reader,
    Writer,
}

/// Passes bytes until both directions have ended, each with the end of its connection.
///
/// Who does not read is not read from: what is held is bounded.
pub async fn relay(client: End, unit: End) -> Outcome {
    let (client_reader, client_writer) = split(client.stream);
    let (unit_reader, unit_writer) = split(unit.stream);
    let mut up = pin!(pass(client.said, client_reader, unit_writer));
    let mut down = pin!(pass(unit.said, unit_reader, client_writer));
    let down = tokio::select! {
        _ = &mut up => tokio::time::timeout(LAST_WORDS, down).await.unwrap_or(Ok(())),
        ended = &mut down => {
            let _ = tokio::time::timeout(LAST_WORDS, up).await;
            ended
        }
    };
    match down {
        Err(Broken::Reader) => Outcome::Error,
        // The client had its answer, whatever it did then.
        _ => Outcome::Answered(StatusCode::SWITCHING_PROTOCOLS.as_u16()),
    }
}

/// One direction; its end is passed on, too.
async fn pass(
    said: Bytes,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) -> Result<(), Broken> {
    let passed = copy(&said, &mut from, &mut to).await;
    // Nobody waits for an answer to this.
    let _ = to.shutdown().await;
    passed
}

async fn copy(
    said: &[u8],
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> Result<(), Broken> {
    send(said, to).await?;
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) => return Ok(()),
            Ok(count) => send(&buffer[..count], to).await?,
            Err(_) => return Err(Broken::Reader),
        }
    }
}

async fn send(bytes: &[u8], to: &mut (impl AsyncWrite + Unpin)) -> Result<(), Broken> {
    to.write_all(bytes).await.map_err(|_| Broken::Writer)?;
    // Nothing may wait for more in a buffer: what comes next may be long in coming.
    to.flush().await.map_err(|_| Broken::Writer)
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};
    use tokio::task::JoinHandle;

    use super::*;

    const AGREED: Outcome = Outcome::Answered(101);

    /// A client and a unit, and the relay between them.
    fn ends(early: &'static [u8]) -> (DuplexStream, DuplexStream, JoinHandle<Outcome>) {
        let (client, client_end) = duplex(64);
        let (unit, unit_end) = duplex(64);
        let end = |stream: DuplexStream, said: &'static [u8]| End {
            stream: Box::new(stream),
            said: Bytes::from_static(said),
        };
        let relay = relay(end(client_end, early), end(unit_end, b"agreed "));
        (client, unit, tokio::spawn(relay))
    }

    async fn all(mut stream: DuplexStream) -> String {
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn what_was_said_before_comes_first() {
        let (mut client, mut unit, relay) = ends(b"early ");
        client.write_all(b"words").await.unwrap();
        client.shutdown().await.unwrap();
        unit.write_all(b"answer").await.unwrap();
        unit.shutdown().await.unwrap();
        assert_eq!(all(unit).await, "early words");
        assert_eq!(all(client).await, "agreed answer");
        assert_eq!(relay.await.unwrap(), AGREED);
    }

    #[tokio::test]
    async fn who_says_that_nothing_more_comes_still_hears_the_answer() {
        let (mut client, mut unit, relay) = ends(b"");
        client.shutdown().await.unwrap();
        assert_eq!(unit.read(&mut [0; 8]).await.unwrap(), 0);
        unit.write_all(b"and farewell").await.unwrap();
        drop(unit);
        assert_eq!(all(client).await, "agreed and farewell");
        assert_eq!(relay.await.unwrap(), AGREED);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_does_not_end_with_the_other_is_left() {
        let (mut client, mut unit, relay) = ends(b"");
        client.shutdown().await.unwrap();
        assert_eq!(unit.read(&mut [0; 8]).await.unwrap(), 0);
        let began = tokio::time::Instant::now();
        assert_eq!(relay.await.unwrap(), AGREED);
        assert!(began.elapsed() >= LAST_WORDS);
        assert_eq!(all(client).await, "agreed ");
        assert!(unit.write_all(b"?").await.is_err());
    }

    #[tokio::test]
    async fn both_may_send_more_than_is_held_before_either_reads() {
        const LENGTH: usize = 1 << 20;
        let (client, unit, relay) = ends(b"");
        let talk = |stream: DuplexStream| async move {
            let (mut reader, mut writer) = split(stream);
            let words = vec![b'x'; LENGTH];
            let say = async {
                writer.write_all(&words).await.unwrap();
                writer.shutdown().await.unwrap();
            };
            let mut heard = Vec::new();
            let (_, ()) = tokio::join!(reader.read_to_end(&mut heard), say);
            heard.len()
        };
        let (client, unit) = tokio::join!(talk(client), talk(unit));
        assert_eq!((client, unit), (LENGTH + "agreed ".len(), LENGTH));
        assert_eq!(relay.await.unwrap(), AGREED);
    }
}
