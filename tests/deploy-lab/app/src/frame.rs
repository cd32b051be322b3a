//! Frames of WebSockets, as far as an echo of short messages needs them: whole messages
//! of less than 126 bytes.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

pub const TEXT: u8 = 1;
pub const CLOSE: u8 = 8;

/// What a server answers to this `Sec-WebSocket-Key` is derived with it.
pub const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).await?;
    let (is_masked, length) = (head[1] & 0x80 != 0, head[1] & 0x7f);
    if head[0] & 0x80 == 0 || length > 125 {
        return Err(io::Error::other("a message of more than one short frame"));
    }
    let mut mask = [0; 4];
    if is_masked {
        stream.read_exact(&mut mask).await?;
    }
    let mut payload = vec![0; usize::from(length)];
    stream.read_exact(&mut payload).await?;
    apply(mask, &mut payload);
    Ok((head[0] & 0x0f, payload))
}

/// Clients mask, servers do not.
pub async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    kind: u8,
    payload: &[u8],
    mask: Option<[u8; 4]>,
) -> io::Result<()> {
    let length = u8::try_from(payload.len()).ok().filter(|length| *length < 126);
    let length = length.ok_or_else(|| io::Error::other("a message that is not short"))?;
    let mut frame = vec![0x80 | kind, length | if mask.is_some() { 0x80 } else { 0 }];
    frame.extend(mask.iter().flatten());
    let begin = frame.len();
    frame.extend_from_slice(payload);
    apply(mask.unwrap_or_default(), &mut frame[begin..]);
    stream.write_all(&frame).await?;
    stream.flush().await
}

fn apply(mask: [u8; 4], payload: &mut [u8]) {
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}
