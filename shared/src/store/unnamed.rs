//! Statements without names, for a pooler that gives each transaction another session of Postgres.
//!
//! diesel-async prepares every statement under a name, in one exchange, and runs it in the next. Behind a pooler like
//! pgbouncer with `pool_mode = transaction` the second exchange may come to a session that has never heard of that name.
//! Here, between the driver and the wire, the name is taken away and the statement is sent along with each of its uses: what
//! is prepared and run then always is within one exchange, which one session answers. It costs Postgres the parsing.
//!
//! The protocol: <https://www.postgresql.org/docs/current/protocol-flow.html>, the messages' bytes:
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>. A pooler that knows prepared statements
//! (pgbouncer since 1.21, with `max_prepared_statements`) does not need this, and is not harmed by it.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres_rustls::MakeRustlsConnect;

/// The question whether Postgres speaks TLS: a length of 8, and a number that is no version.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const HEADER: usize = 5;
/// So much may wait to be written before the driver has to.
const MOST_UNWRITTEN: usize = 256 * 1024;

/// What the client sends, with the names taken out.
#[derive(Default)]
struct Requests {
    /// What is not a whole message yet.
    partial: BytesMut,
    /// The first message has no type.
    is_started: bool,
    /// The statements that the driver has prepared: all that stands behind their names.
    statements: HashMap<Bytes, Bytes>,
    /// Which of them the exchange that is being written has sent last.
    sent: Option<Bytes>,
}

/// Whose an acknowledged parse was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parse {
    /// The driver's, which waits for the word.
    Asked,
    /// Put in here; the driver must not hear of it.
    Added,
}

/// The parses of each exchange whose end was not seen yet, oldest first. The last one is still being written.
struct Exchanges(VecDeque<VecDeque<Parse>>);

impl Exchanges {
    fn parse(&mut self, whose: Parse) {
        if let Some(writing) = self.0.back_mut() {
            writing.push_back(whose);
        }
    }

    fn next(&mut self) {
        self.0.push_back(VecDeque::new());
    }

    /// Whose the parse was that Postgres has acknowledged.
    fn parsed(&mut self) -> Parse {
        self.0.front_mut().and_then(VecDeque::pop_front).unwrap_or(Parse::Asked)
    }

    /// Postgres is ready for the next one. After an error, it has skipped the rest of this one's parses.
    fn ended(&mut self) {
        if self.0.len() > 1 {
            self.0.pop_front();
        }
    }
}

impl Requests {
    /// Takes bytes of the driver's, and gives what goes over the wire.
    fn take(&mut self, bytes: &[u8], exchanges: &mut Exchanges, out: &mut BytesMut) {
        self.partial.extend_from_slice(bytes);
        let header = if self.is_started { HEADER } else { HEADER - 1 };
        while let Some(length) = length(&self.partial, header) {
            if self.partial.len() < length {
                return;
            }
            let message = self.partial.split_to(length).freeze();
            if self.is_started {
                self.rewrite(&message, exchanges, out);
            } else {
                self.is_started = true;
                exchanges.next();
                out.extend_from_slice(&message);
                return self.take(&[], exchanges, out);
            }
        }
    }

    fn rewrite(&mut self, message: &Bytes, exchanges: &mut Exchanges, out: &mut BytesMut) {
        let body = message.slice(HEADER..);
        match message.first() {
            Some(b'P') => {
                let (name, statement) = text(&body);
                exchanges.parse(Parse::Asked);
                write(out, b'P', &[b"\0", &statement]);
                self.sent = Some(name.clone());
                if !name.is_empty() {
                    self.statements.insert(name, statement);
                }
            }
            Some(b'B') => {
                let (portal, rest) = text(&body);
                let (name, rest) = text(&rest);
                self.send(&name, exchanges, out);
                write(out, b'B', &[&portal, b"\0\0", &rest]);
            }
            Some(b'D') if body.starts_with(b"S") => {
                self.send(&text(&body.slice(1..)).0, exchanges, out);
                write(out, b'D', &[b"S\0"]);
            }
            Some(b'C') if body.starts_with(b"S") => {
                self.statements.remove(&text(&body.slice(1..)).0);
                self.sent = None;
                write(out, b'C', &[b"S\0"]);
            }
            Some(b'S' | b'Q') => {
                self.sent = None;
                exchanges.next();
                out.extend_from_slice(message);
            }
            _ => out.extend_from_slice(message),
        }
    }

    /// Sends the statement along, unless this exchange has just done so.
    fn send(&mut self, name: &Bytes, exchanges: &mut Exchanges, out: &mut BytesMut) {
        if self.sent.as_ref() == Some(name) {
            return;
        }
        // One that is unknown: Postgres says so, about the statement without a name.
        if let Some(statement) = self.statements.get(name) {
            exchanges.parse(Parse::Added);
            write(out, b'P', &[b"\0", statement]);
            self.sent = Some(name.clone());
        }
    }
}

/// What Postgres answers, without what the driver did not ask for.
#[derive(Default)]
struct Answers {
    /// A header that is not whole yet.
    header: BytesMut,
    /// Bytes of the present message that pass.
    left: usize,
}

impl Answers {
    fn take(&mut self, mut bytes: &[u8], exchanges: &mut Exchanges, out: &mut BytesMut) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let (now, later) = bytes.split_at(self.left.min(bytes.len()));
                out.extend_from_slice(now);
                self.left -= now.len();
                bytes = later;
                continue;
            }
            let missing = HEADER - self.header.len();
            let (now, later) = bytes.split_at(missing.min(bytes.len()));
            self.header.extend_from_slice(now);
            bytes = later;
            if let Some(length) = length(&self.header, HEADER) {
                let header = self.header.split();
                self.left = length - HEADER;
                match header.first() {
                    Some(b'1') if exchanges.parsed() == Parse::Added => continue,
                    Some(b'Z') => exchanges.ended(),
                    _ => {}
                }
                out.extend_from_slice(&header);
            }
        }
    }
}

/// A message's whole length, once its header of so many bytes is there. The last four bytes of a header count themselves.
fn length(bytes: &[u8], header: usize) -> Option<usize> {
    let mut number = bytes.get(header - 4..header)?;
    let length = usize::try_from(number.get_u32()).ok()?;
    Some(header - 4 + length.max(4))
}

/// A text that ends with a zero, without that, and what follows.
fn text(bytes: &Bytes) -> (Bytes, Bytes) {
    match bytes.iter().position(|byte| *byte == 0) {
        Some(end) => (bytes.slice(..end), bytes.slice(end + 1..)),
        None => (bytes.clone(), Bytes::new()),
    }
}

fn write(out: &mut BytesMut, kind: u8, parts: &[&[u8]]) {
    let length: usize = 4 + parts.iter().map(|part| part.len()).sum::<usize>();
    out.put_u8(kind);
    // A message of more than 4 GiB was none when it came.
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    for part in parts {
        out.extend_from_slice(part);
    }
}

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// A connection to Postgres on which no statement has a name.
pub(super) struct Unnamed {
    wire: Box<dyn Wire>,
    exchanges: Exchanges,
    requests: Requests,
    unwritten: BytesMut,
    answers: Answers,
    chunk: Box<[u8]>,
    unread: BytesMut,
}

impl Unnamed {
    fn new(wire: Box<dyn Wire>) -> Self {
        Self {
            wire,
            // The first one ends with the greeting.
            exchanges: Exchanges(VecDeque::from([VecDeque::new()])),
            requests: Requests::default(),
            unwritten: BytesMut::new(),
            answers: Answers::default(),
            chunk: vec![0; 16 * 1024].into_boxed_slice(),
            unread: BytesMut::new(),
        }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unwritten.is_empty() {
            let written = ready!(Pin::new(&mut self.wire).poll_write(cx, &self.unwritten))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unwritten.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Unnamed {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.unread.is_empty() {
            let mut from = ReadBuf::new(&mut this.chunk);
            ready!(Pin::new(&mut this.wire).poll_read(cx, &mut from))?;
            if from.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.answers.take(from.filled(), &mut this.exchanges, &mut this.unread);
        }
        let now = this.unread.split_to(this.unread.len().min(to.remaining()));
        to.put_slice(&now);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Unnamed {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.unwritten.len() > MOST_UNWRITTEN {
            ready!(this.poll_drain(cx))?;
        }
        this.requests.take(bytes, &mut this.exchanges, &mut this.unwritten);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.wire).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.wire).poll_shutdown(cx)
    }
}

impl TlsStream for Unnamed {
    /// pgbouncer binds no channels.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

/// Connects with TLS or without, as `mode` says. It stands where `tokio-postgres` has a place for its TLS, and asks for TLS
/// itself, so that a plain connection comes by here, too.
#[derive(Clone)]
pub(super) struct UnnamedConnector {
    pub(super) mode: SslMode,
    pub(super) tls: MakeRustlsConnect,
}

/// The same for one host.
pub(super) struct UnnamedHost {
    mode: SslMode,
    tls: <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect,
}

impl MakeTlsConnect<Socket> for UnnamedConnector {
    type Stream = Unnamed;
    type TlsConnect = UnnamedHost;
    type Error = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Error;

    fn make_tls_connect(&mut self, host: &str) -> Result<UnnamedHost, Self::Error> {
        let tls = MakeTlsConnect::<Socket>::make_tls_connect(&mut self.tls, host)?;
        Ok(UnnamedHost { mode: self.mode, tls })
    }
}

impl TlsConnect<Socket> for UnnamedHost {
    type Stream = Unnamed;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Unnamed>>;

    fn connect(self, mut socket: Socket) -> Self::Future {
        async move {
            if self.mode == SslMode::Disable {
                return Ok(Unnamed::new(Box::new(socket)));
            }
            socket.write_all(&SSL_REQUEST).await?;
            match socket.read_u8().await? {
                b'S' => Ok(Unnamed::new(Box::new(self.tls.connect(socket).await?))),
                _ if self.mode == SslMode::Prefer => Ok(Unnamed::new(Box::new(socket))),
                _ => Err(io::Error::other("server does not support TLS")),
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;
