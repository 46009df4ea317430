//! A connection on which anything can be written.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;

use anyhow::{Result, bail};
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use super::{Flags, Frame, Headers, Kind, PREFACE};
use crate::deadline::within;

/// Another address of the loopback interface.
pub(super) const OTHER_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Bytes of a frame's header.
const HEADER: usize = 9;
/// Read at once.
const CHUNK: usize = 64 * 1024;

/// The payload that identifies the ping of [`Raw::exchange`].
const QUESTION: &[u8; 8] = b"all read";

/// The reaction of the agent to written bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It has read all of them.
    Read,
    /// It has closed the connection.
    Ended,
}

type Writer = Pin<Box<dyn AsyncWrite + Send>>;
type Reader = Pin<Box<dyn AsyncRead + Send>>;

/// A connection that reads and writes nothing by itself.
pub struct Raw {
    reader: Reader,
    writer: Writer,
}

impl Raw {
    /// Connects to `unix:///path` or `tcp://address:port`; by TCP from an address that ordinary
    /// clients of the tests do not have, so that the agent counts it as another caller.
    ///
    /// # Errors
    ///
    /// No server listens at the address.
    pub async fn connect(url: &str) -> Result<Self> {
        Self::connect_from(url, OTHER_ADDRESS).await
    }

    /// Connects by TCP from an address of this machine, or to a unix socket.
    ///
    /// # Errors
    ///
    /// No server listens at the address, or no port is left.
    pub async fn connect_from(url: &str, source: Ipv4Addr) -> Result<Self> {
        if let Some(path) = url.strip_prefix("unix://") {
            return Ok(Self::over(within("a connection", UnixStream::connect(path)).await??));
        }
        Ok(Self::over(tcp_from(url, source).await?))
    }

    /// Wraps a connected stream.
    pub fn over(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self { reader: Box::pin(reader), writer: Box::pin(writer) }
    }

    /// Connects, and sends the preface and empty settings.
    ///
    /// # Errors
    ///
    /// No server listens at the address.
    pub async fn connected_with_preface(url: &str) -> Result<Self> {
        Self::connected_with_settings(url, &[]).await
    }

    /// Connects, and sends the preface and these settings.
    ///
    /// # Errors
    ///
    /// No server listens at the address.
    pub async fn connected_with_settings(url: &str, settings: &[u8]) -> Result<Self> {
        Self::connect(url).await?.send_preface(settings).await
    }

    /// Connects from an address of this machine, and sends the preface and empty settings.
    ///
    /// # Errors
    ///
    /// As in [`Raw::connect_from`].
    pub async fn connected_from_with_preface(url: &str, source: Ipv4Addr) -> Result<Self> {
        Self::connect_from(url, source).await?.send_preface(&[]).await
    }

    /// Sends the preface and these settings.
    ///
    /// # Errors
    ///
    /// The agent has ended the connection.
    pub async fn send_preface(mut self, settings: &[u8]) -> Result<Self> {
        let mut bytes = BytesMut::from(PREFACE);
        Frame::new(Kind::Settings, 0, settings).put(&mut bytes);
        Frame::new(Kind::Settings, 0, &[]).with(Flags::END_STREAM).put(&mut bytes);
        self.write(&bytes).await?;
        Ok(self)
    }

    /// Writes.
    ///
    /// # Errors
    ///
    /// The agent has ended the connection.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes).await?;
        // The records that TLS has buffered.
        self.writer.flush().await
    }

    /// Sends the headers of a call; the body may follow or not.
    ///
    /// # Errors
    ///
    /// As in [`Raw::write`].
    pub async fn begin(&mut self, stream: u32, path: &str) -> io::Result<()> {
        let headers = Headers::call(path);
        let frame = Frame::new(Kind::Headers, stream, headers.bytes());
        self.send(&frame.with(Flags::END_HEADERS)).await
    }

    /// Reads frames until one of this type, and returns its payload.
    ///
    /// # Errors
    ///
    /// The agent has ended the connection.
    pub async fn read_until(&mut self, kind: Kind) -> Result<Vec<u8>> {
        within("a frame", async {
            loop {
                let (type_of, payload) = read_frame(&mut self.reader).await?;
                if type_of == kind as u8 {
                    return Ok(payload);
                }
            }
        })
        .await?
    }

    /// Writes bytes and a ping, and reads meanwhile until the agent acknowledges the ping or closes
    /// the connection.
    ///
    /// # Errors
    ///
    /// The agent does neither.
    pub async fn exchange(&mut self, bytes: &[u8]) -> Result<Outcome> {
        let mut question = BytesMut::new();
        Frame::new(Kind::Ping, 0, QUESTION).put(&mut question);
        let Self { reader, writer } = self;
        let write = async {
            writer.write_all(bytes).await?;
            writer.write_all(&question).await?;
            writer.flush().await
        };
        let exchanged = async {
            let (_written, outcome) = tokio::join!(write, response(reader));
            outcome
        };
        within("a reply or the end of the connection", exchanged).await
    }

    /// Writes bytes, and reads until the agent closes the connection because of them.
    ///
    /// # Errors
    ///
    /// The agent does not close it.
    pub async fn end_by(self, bytes: &[u8]) -> Result<()> {
        let Self { mut reader, mut writer } = self;
        let write = async {
            writer.write_all(bytes).await?;
            writer.flush().await
        };
        let read = async { while read_frame(&mut reader).await.is_ok() {} };
        let (_written, ()) =
            within("the connection's end", async { tokio::join!(write, read) }).await?;
        Ok(())
    }

    /// Writes one frame.
    ///
    /// # Errors
    ///
    /// As in [`Raw::write`].
    pub async fn send(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        let mut bytes = BytesMut::new();
        frame.put(&mut bytes);
        self.write(&bytes).await
    }

    /// Reads until the agent ends the connection; returns the types of the frames that it sent.
    ///
    /// # Errors
    ///
    /// The agent does not close it.
    pub async fn to_end(mut self) -> Result<Vec<u8>> {
        within("the connection's end", async {
            let mut types = Vec::new();
            // Either an end of file or a reset.
            while let Ok((type_of, _)) = read_frame(&mut self.reader).await {
                types.push(type_of);
            }
            types
        })
        .await
    }

    /// Closes the sending direction, and spawns a task that reads what the agent still sends.
    pub async fn shut_down(self) {
        let Self { mut reader, mut writer } = self;
        // The agent may have ended it already.
        let _said = writer.shutdown().await;
        tokio::spawn(async move { drain(&mut reader).await });
    }
}

/// Connects to `tcp://address:port` from an address of this machine.
pub(super) async fn tcp_from(url: &str, source: Ipv4Addr) -> Result<TcpStream> {
    let Some(address) = url.strip_prefix("tcp://") else { bail!("no address: {url}") };
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(source.into(), 0))?;
    let stream = within("a connection", socket.connect(address.parse()?)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn read_frame(reader: &mut Reader) -> Result<(u8, Vec<u8>)> {
    let mut header = [0; HEADER];
    reader.read_exact(&mut header).await?;
    let [high, middle, low, type_of, ..] = header;
    let length = u32::from_be_bytes([0, high, middle, low]);
    let mut payload = vec![0; usize::try_from(length)?];
    reader.read_exact(&mut payload).await?;
    Ok((type_of, payload))
}

async fn response(reader: &mut Reader) -> Outcome {
    loop {
        match read_frame(reader).await {
            Ok((type_of, payload)) if type_of == Kind::Ping as u8 && payload == QUESTION => {
                return Outcome::Read;
            }
            Ok(_) => {}
            Err(_) => return Outcome::Ended,
        }
    }
}

/// Reads until an end of file or a reset.
async fn drain(reader: &mut Reader) {
    let mut buffer = vec![0; CHUNK];
    while reader.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
}
