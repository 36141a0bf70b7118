//! A strict stand-in for TikTok: Login Kit, Display API, webhooks, and a control API that makes all of it fail on demand.

mod answer;
mod api;
mod clock;
mod config;
mod endpoint;
mod faults;
mod grants;
mod limits;
mod oauth;
mod pages;
mod requests;
mod scopes;
mod server;
mod settings;
mod state;
mod webhooks;
mod world;

use std::net::SocketAddr;

use actix_web::dev::ServerHandle;
use actix_web::web::Data;

pub use config::{AppProfile, Latency, SandboxConfig};

/// Why a sandbox does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be bound.
    #[error("the sandbox cannot listen on {address}: {source}")]
    Bind {
        /// As configured.
        address: String,
        /// The system's word.
        source: std::io::Error,
    },
    /// A setting makes no sense; the text says which, and why.
    #[error("sandbox: {0}")]
    Invalid(String),
    /// The server cannot run.
    #[error("the sandbox's server does not start: {0}")]
    Serve(std::io::Error),
}

/// A running sandbox. Dropping it stops it too, without waiting.
pub struct Sandbox {
    addr: SocketAddr,
    server: ServerHandle,
}

impl Sandbox {
    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://` and the address, without a trailing slash: what both `TIKTOK_AUTH_URL` and `TIKTOK_API_URL` are set to.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Stops it; requests under way are cut off.
    pub async fn stop(self) {
        self.server.stop(false).await;
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // The command is sent by the call; only its end would be awaited.
        drop(self.server.stop(false));
    }
}

/// Starts a sandbox, on threads of its own: the caller needs no runtime.
pub fn start(config: SandboxConfig) -> Result<Sandbox, StartError> {
    config.validate()?;
    let (listener, addr) = server::bind(&config.bind)?;
    let base_url = config.public_url.clone().unwrap_or_else(|| format!("http://{addr}"));
    let state = Data::new(state::State::new(config, base_url));
    let (server, _thread) = server::serve(listener, state)?;
    Ok(Sandbox { addr, server })
}
