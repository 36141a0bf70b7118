//! The way to a Redis, on which answers can be lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// Passes on what is said to a Redis, and its answers.
pub struct Wire {
    pub url: String,
    losing: Arc<AtomicBool>,
}

impl Wire {
    /// A wire to a URL of the form `redis+unix://PATH`, or `redis://…` with a port.
    pub async fn to(redis: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let losing = Arc::<AtomicBool>::default();
        let url = if let Some(socket) = redis.strip_prefix("redis+unix://") {
            let (socket, losing) = (socket.to_owned(), Arc::clone(&losing));
            tokio::spawn(async move {
                while let Ok((client, _)) = listener.accept().await {
                    let Ok(server) = UnixStream::connect(&socket).await else { continue };
                    tokio::spawn(carry(client, server, Arc::clone(&losing)));
                }
            });
            format!("redis://127.0.0.1:{port}")
        } else {
            let mut url = url::Url::parse(redis).unwrap();
            let server = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
            let losing = Arc::clone(&losing);
            tokio::spawn(async move {
                while let Ok((client, _)) = listener.accept().await {
                    let Ok(server) = TcpStream::connect(&server).await else { continue };
                    tokio::spawn(carry(client, server, Arc::clone(&losing)));
                }
            });
            url.set_port(Some(port)).unwrap();
            url.to_string()
        };
        Self { url, losing }
    }

    /// From now on nothing comes back on a connection, old or new, once a script has been asked for on it. What is asked
    /// still arrives.
    pub fn lose_scripts(&self) {
        self.losing.store(true, Ordering::Release);
    }

    /// Ends that for all connections on which nothing was lost.
    #[allow(dead_code, reason = "some tests never end it")]
    pub fn lose_no_more(&self) {
        self.losing.store(false, Ordering::Release);
    }
}

async fn carry(client: TcpStream, server: impl AsyncRead + AsyncWrite + Send, losing: Arc<AtomicBool>) {
    let (mut asked, mut answer) = client.into_split();
    let (mut answered, mut ask) = tokio::io::split(server);
    let is_lost = AtomicBool::new(false);
    let there = async {
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = asked.read(&mut bytes).await {
            let bytes = bytes.get(..read).unwrap();
            if losing.load(Ordering::Acquire) && bytes.windows(7).any(|word| word == b"EVALSHA") {
                is_lost.store(true, Ordering::Release);
            }
            if ask.write_all(bytes).await.is_err() {
                return;
            }
        }
    };
    let back = async {
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = answered.read(&mut bytes).await {
            if !is_lost.load(Ordering::Acquire) && answer.write_all(bytes.get(..read).unwrap()).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = there => {}
        () = back => {}
    }
}
