//! Messages on a connection, one S-expression each. Control path.

use std::{io, time::Duration};

use sexp::Sexp;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Bytes that may be between two hosts, in the buffers of both kernels: a sender that goes on for longer does not listen.
const MAX_ON_ITS_WAY: usize = 16 << 20;

/// Bytes of a last word that is listened to at most.
const MAX_LAST_WORD: usize = 4096;

/// One end of a connection on which S-expressions go back and forth, and image bytes in between.
///
/// Never takes a byte from the connection that is not part of a message: what follows may be an image, read by someone else.
#[derive(Debug)]
pub struct Conversation {
    stream: TcpStream,
    reader: sxp::Reader,
}

/// Why no message came.
#[derive(Debug, thiserror::Error)]
pub enum ConversationError {
    /// The connection failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Nothing, or not all of a message, came in time.
    #[error("nothing came within {} s", .0.as_secs_f32())]
    Timeout(Duration),
    /// The bytes are no S-expression.
    #[error("{0}")]
    Syntax(sxp::ReadError),
    /// A message is followed by something else than its newline.
    #[error("a message does not end with a newline")]
    NoNewline,
    /// The other end has closed.
    #[error("the other end closed the connection")]
    Closed,
}

impl Conversation {
    /// A conversation on a fresh connection.
    pub fn new(stream: TcpStream, limits: sxp::Limits) -> Conversation {
        Conversation {
            stream,
            reader: sxp::Reader::new(limits),
        }
    }

    /// The next message. `limit` is for all of it: a byte now and then does not prolong it.
    ///
    /// # Errors
    /// [`ConversationError`]; after a syntax error the bytes that had come are dropped and the next message may follow, as with xend.
    pub async fn next(&mut self, limit: Duration) -> Result<Sexp, ConversationError> {
        timeout(limit, self.read())
            .await
            .map_err(|_| ConversationError::Timeout(limit))?
    }

    async fn read(&mut self) -> Result<Sexp, ConversationError> {
        let mut buffer = [0; 4096];
        loop {
            let seen = self.stream.peek(&mut buffer).await?;
            if seen == 0 {
                return Err(ConversationError::Closed);
            }
            let bytes = buffer.get(..seen).unwrap_or_default();
            let (used, result) = match self.reader.feed(bytes) {
                Ok((used, value)) => (used, Ok(value)),
                Err(error) => {
                    self.reader.reset();
                    (seen, Err(error))
                }
            };
            if let Some(used) = buffer.get_mut(..used) {
                self.stream.read_exact(used).await?;
            }
            match result {
                Ok(Some(value)) => return Ok(value),
                Ok(None) => {}
                Err(error) => return Err(ConversationError::Syntax(error)),
            }
        }
    }

    /// Takes the newline that ends a message of the native protocol: image bytes may come next.
    ///
    /// # Errors
    /// [`ConversationError`].
    pub async fn end_of_line(&mut self, limit: Duration) -> Result<(), ConversationError> {
        let byte = timeout(limit, self.stream.read_u8())
            .await
            .map_err(|_| ConversationError::Timeout(limit))??;
        if byte == b'\n' {
            Ok(())
        } else {
            Err(ConversationError::NoNewline)
        }
    }

    /// The next message of the native protocol, with its newline.
    ///
    /// # Errors
    /// As [`Conversation::next`].
    pub async fn next_line(&mut self, limit: Duration) -> Result<Sexp, ConversationError> {
        let value = self.next(limit).await?;
        self.end_of_line(limit).await?;
        Ok(value)
    }

    /// Sends a message.
    ///
    /// # Errors
    /// [`ConversationError`] if the connection fails, or the other end takes nothing for `limit`.
    pub async fn send(&mut self, line: &[u8], limit: Duration) -> Result<(), ConversationError> {
        timeout(limit, self.stream.write_all(line))
            .await
            .map_err(|_| ConversationError::Timeout(limit))??;
        Ok(())
    }

    /// Ends this side's half of the connection: nothing more is sent.
    ///
    /// # Errors
    /// The system's.
    pub async fn end(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// Says a last word, and sees to it that it is not lost: a socket that is closed with unread bytes resets the connection, and the reset may
    /// overtake the word. So what still comes is read and dropped, for `limit` at most, and no more than what may have been on its way.
    pub async fn last_word(mut self, line: &[u8], limit: Duration) {
        let farewell = async {
            self.stream.write_all(line).await?;
            self.drain(&mut Vec::new()).await
        };
        // Whatever goes wrong here, the relocation has been decided already.
        let _ = timeout(limit, farewell).await;
    }

    /// Hangs up and waits, for `limit` at most, until the other end has done so too: then it has done all that it does about the end. What it has said
    /// last, if that came in time; what cannot be a last word is left out.
    pub async fn hang_up(mut self, limit: Duration) -> Option<Sexp> {
        let mut word = Vec::new();
        timeout(limit, self.drain(&mut word)).await.ok()?.ok()?;
        let mut reader = sxp::Reader::new(sxp::Limits {
            max_bytes: MAX_LAST_WORD,
            ..sxp::Limits::default()
        });
        let (mut rest, mut last) = (word.as_slice(), None);
        while let Ok((used, Some(value))) = reader.feed(rest) {
            last = Some(value);
            rest = rest.get(used..).unwrap_or_default();
        }
        last
    }

    /// Reads what still comes, and keeps the beginning of it.
    async fn drain(&mut self, word: &mut Vec<u8>) -> io::Result<()> {
        self.stream.shutdown().await?;
        let mut sink = [0; 4096];
        let mut dropped = 0;
        while dropped < MAX_ON_ITS_WAY {
            match self.stream.read(&mut sink).await? {
                0 => break,
                count => {
                    let room = MAX_LAST_WORD.saturating_sub(word.len());
                    word.extend(sink.iter().take(count.min(room)));
                    dropped += count;
                }
            }
        }
        Ok(())
    }

    /// Refuses an xend's sender: the line, and at once a reset of the connection. It does not read the line before its own write has failed, and a
    /// plain close lets several writes succeed.
    pub async fn refuse(mut self, line: &[u8]) {
        let _ = timeout(Duration::from_secs(1), self.stream.write_all(line)).await;
        let _ = self.reset_on_close();
    }

    /// From now on the connection is reset when it is closed, whoever closes it: also the kernel, for a process that was killed.
    ///
    /// # Errors
    /// The system's.
    pub fn reset_on_close(&self) -> io::Result<()> {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))
    }

    /// Bounds what the kernel takes in before anybody has read it.
    ///
    /// # Errors
    /// The system's.
    pub fn bound_receive_buffer(&self, bytes: usize) -> io::Result<()> {
        socket2::SockRef::from(&self.stream).set_recv_buffer_size(bytes)
    }

    /// Takes bytes that are no message, as many as have come, `most` at most. The caller sets the time limit.
    ///
    /// # Errors
    /// [`ConversationError::Closed`] at the end of the stream; [`ConversationError::Io`].
    pub async fn take(&mut self, most: usize) -> Result<Vec<u8>, ConversationError> {
        const STEP: usize = 64 << 10;
        let mut bytes = vec![0; most.min(STEP)];
        let count = self.stream.read(&mut bytes).await?;
        if count == 0 {
            return Err(ConversationError::Closed);
        }
        bytes.truncate(count);
        Ok(bytes)
    }

    /// The connection for the bulk path: blocking, each call bounded by `idle`.
    ///
    /// # Errors
    /// The system's.
    pub fn into_blocking(self, idle: Duration) -> io::Result<std::net::TcpStream> {
        let stream = self.stream.into_std()?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(idle))?;
        stream.set_write_timeout(Some(idle))?;
        Ok(stream)
    }

    /// A conversation on a connection that comes back from the bulk path.
    ///
    /// # Errors
    /// The system's.
    pub fn from_blocking(stream: std::net::TcpStream, limits: sxp::Limits) -> io::Result<Conversation> {
        stream.set_nonblocking(true)?;
        Ok(Conversation::new(TcpStream::from_std(stream)?, limits))
    }
}

/// Settings of every relocation connection: no delay for small messages, and a dead peer is noticed while nothing is said.
///
/// # Errors
/// The system's.
pub fn prepare(stream: &TcpStream) -> io::Result<()> {
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(10))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    socket.set_tcp_keepalive(&keepalive)
}

#[cfg(test)]
mod tests {
    use tokio::{net::TcpListener, sync::oneshot};

    use super::*;

    #[tokio::test]
    async fn hanging_up_waits_for_the_other_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut there, _) = listener.accept().await.unwrap();
        let (done, is_done) = oneshot::channel();
        let other = tokio::spawn(async move {
            let mut rest = Vec::new();
            there.read_to_end(&mut rest).await.unwrap();
            there
                .write_all(b"(loaded)\n(err (type arrival-failed) (value ''))\n")
                .await
                .unwrap();
            is_done.await.unwrap();
        });
        let mut hanging_up = Box::pin(Conversation::new(here, sxp::Limits::default()).hang_up(Duration::from_secs(60)));
        // As long as the other end has not closed, neither its word nor anything else ends the wait.
        assert!(timeout(Duration::from_millis(50), &mut hanging_up).await.is_err());
        done.send(()).unwrap();
        let word = hanging_up.await.unwrap();
        assert!(matches!(word, Sexp::List(word) if word.len() == 3));
        other.await.unwrap();
    }

    #[tokio::test]
    async fn hanging_up_does_not_wait_for_ever() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_there, _) = listener.accept().await.unwrap();
        let hanging_up = Conversation::new(here, sxp::Limits::default()).hang_up(Duration::from_millis(20));
        assert_eq!(hanging_up.await, None);
    }
}
