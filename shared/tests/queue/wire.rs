//! The way to a Redis, on which answers can be lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// Passes on what is said to the Redis behind a socket, and its answers.
pub struct Wire {
    pub url: String,
    /// By connection: whether its answers are lost.
    losing: Arc<Mutex<Vec<Arc<AtomicBool>>>>,
}

impl Wire {
    /// A wire to a URL of the form `redis+unix://PATH`.
    pub async fn to(redis: &str) -> Self {
        let socket = redis.strip_prefix("redis+unix://").expect("a socket").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let losing = Arc::<Mutex<Vec<Arc<AtomicBool>>>>::default();
        let flags = Arc::clone(&losing);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let flag = Arc::<AtomicBool>::default();
                flags.lock().unwrap().push(Arc::clone(&flag));
                let Ok(server) = UnixStream::connect(&socket).await else { continue };
                tokio::spawn(carry(client, server, flag));
            }
        });
        Self { url, losing }
    }

    /// From now on what Redis answers on the connections that are there is lost. What is asked on them still arrives.
    pub fn lose_answers(&self) {
        for flag in self.losing.lock().unwrap().iter() {
            flag.store(true, Ordering::Release);
        }
    }
}

async fn carry(client: TcpStream, server: UnixStream, losing: Arc<AtomicBool>) {
    let (mut asked, mut answer) = client.into_split();
    let (mut answered, mut ask) = server.into_split();
    let there = async { tokio::io::copy(&mut asked, &mut ask).await.map(|_| ()) };
    let back = async {
        let mut bytes = [0; 4096];
        loop {
            let read = answered.read(&mut bytes).await?;
            if read == 0 {
                return Ok(());
            }
            if !losing.load(Ordering::Acquire) {
                answer.write_all(bytes.get(..read).unwrap()).await?;
            }
        }
    };
    let _: Result<(), std::io::Error> = tokio::select! {
        end = there => end,
        end = back => end,
    };
}
