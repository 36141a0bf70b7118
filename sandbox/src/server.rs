//! The routes, and the server's life.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::sync::mpsc::Sender;
use std::time::Duration;

use actix_web::dev::{Extensions, ServerHandle};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{App, HttpResponse, HttpServer, rt};
use tokio::sync::oneshot;

use crate::answer::Answer;
use crate::state::{Connection, State};
use crate::{StartError, api, control, oauth, webhooks};

/// Longer than the idle connections of any sane client, so that the server never closes one that is just being used.
const KEEP_ALIVE: Duration = Duration::from_secs(150);

fn routes(config: &mut ServiceConfig, control: bool) {
    if control {
        config.service(control::routes());
    }
    let janus = || web::route().to(janus);
    config
        .service(
            web::resource("/v2/auth/authorize/")
                .route(web::get().to(oauth::authorize::show))
                .route(web::post().to(oauth::authorize::decide))
                .default_service(janus()),
        )
        .service(web::resource("/v2/oauth/token/").route(web::post().to(oauth::token::token)).default_service(janus()))
        .service(
            web::resource("/v2/oauth/revoke/").route(web::post().to(oauth::revoke::revoke)).default_service(janus()),
        )
        .service(web::resource("/v2/user/info/").route(web::get().to(api::user_info)).default_service(janus()))
        .service(web::resource("/v2/video/list/").route(web::post().to(api::video_list)).default_service(janus()))
        .service(web::resource("/v2/video/query/").route(web::post().to(api::video_query)).default_service(janus()))
        .route("/media/avatar/{name}", web::get().to(api::avatar))
        .route("/media/cover/{name}", web::get().to(api::cover))
        .default_service(janus());
}

async fn janus() -> HttpResponse {
    Answer::janus().into_response()
}

/// A server that runs on a thread of its own, so that it does not matter on which runtime the caller lives.
pub(crate) struct Running {
    pub(crate) handle: ServerHandle,
    /// Closed when the thread has ended, and with it every connection and the listener.
    pub(crate) ended: oneshot::Receiver<()>,
}

pub(crate) fn serve(listener: TcpListener, state: Data<State>) -> Result<Running, StartError> {
    let (started, start) = std::sync::mpsc::channel();
    let (alive, ended) = oneshot::channel();
    let thread = std::thread::Builder::new().name("sandbox".to_owned()).spawn(move || {
        rt::System::new().block_on(run(listener, state, &started));
        drop::<oneshot::Sender<()>>(alive);
    });
    thread.map_err(StartError::Serve)?;
    let handle = start.recv().map_err(|_| StartError::Serve(std::io::Error::other("the server thread ended")))?;
    Ok(Running { handle: handle.map_err(StartError::Serve)?, ended })
}

async fn run(listener: TcpListener, state: Data<State>, started: &Sender<std::io::Result<ServerHandle>>) {
    let control = state.config.control;
    let webhooks = rt::spawn(webhooks::deliver(state.clone()));
    let app = move || App::new().app_data(state.clone()).configure(|config| routes(config, control));
    let server = HttpServer::new(app)
        .workers(1)
        .keep_alive(KEEP_ALIVE)
        .shutdown_timeout(1)
        .disable_signals()
        .on_connect(remember_connection)
        .listen(listener);
    match server {
        Ok(server) => {
            let server = server.run();
            // Nobody to tell if the starter is gone; the server then ends with its handle.
            let _ = started.send(Ok(server.handle()));
            if let Err(error) = server.await {
                tracing::error!(%error, "the sandbox's server ended");
            }
        }
        Err(error) => {
            let _ = started.send(Err(error));
        }
    }
    webhooks.abort();
}

fn remember_connection(io: &dyn std::any::Any, extensions: &mut Extensions) {
    let stream = io.downcast_ref::<rt::net::TcpStream>();
    let copy = stream.and_then(|stream| stream.as_fd().try_clone_to_owned().ok()).map(std::net::TcpStream::from);
    extensions.insert(Connection(copy));
}

/// Binds; the address that it got.
pub(crate) fn bind(address: &str) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Bind { address: address.to_owned(), source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SandboxConfig;
    use actix_web::http::{Method, StatusCode};
    use actix_web::test::{TestRequest, call_service, init_service, read_body};

    /// The address that a connection comes from is the test's to choose, so that it does not matter which ones this machine has.
    #[actix_web::test]
    async fn the_control_api_does_not_exist_but_for_callers_on_loopback() {
        let config = SandboxConfig { control: true, ..SandboxConfig::default() };
        let state = Data::new(State::new(config, "http://127.0.0.1:9".to_owned()));
        let app = init_service(App::new().app_data(state).configure(|config| routes(config, true))).await;
        let requests =
            [(Method::GET, "/control/settings"), (Method::GET, "/control/users"), (Method::DELETE, "/control/faults")];
        for (peer, known) in [
            ("127.0.0.1:4999", true),
            ("127.1.2.3:4999", true),
            ("[::1]:4999", true),
            ("192.0.2.7:4999", false),
            ("10.0.0.1:4999", false),
            ("0.0.0.0:4999", false),
            ("[2001:db8::7]:4999", false),
            ("[fe80::1]:4999", false),
            ("[::ffff:192.0.2.7]:4999", false),
        ] {
            for (method, path) in &requests {
                // What a caller says about itself changes nothing.
                let said = [("x-forwarded-for", "127.0.0.1"), ("forwarded", "for=127.0.0.1"), ("host", "localhost")];
                let request = TestRequest::with_uri(path).method(method.clone()).peer_addr(peer.parse().unwrap());
                let request = said.into_iter().fold(request, TestRequest::insert_header);
                let answer = call_service(&app, request.to_request()).await;
                assert_eq!(answer.status() == StatusCode::OK, known, "{peer} {method} {path}: {}", answer.status());
                if !known {
                    assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{peer} {method} {path}");
                    let text = read_body(answer).await;
                    assert!(
                        !text.is_empty() && !text.starts_with(b"{"),
                        "the stand-in's word for any unknown path: {text:?}"
                    );
                }
            }
        }
        let nobody = call_service(&app, TestRequest::with_uri("/control/settings").to_request()).await;
        assert_eq!(nobody.status(), StatusCode::NOT_FOUND, "a peer that is not known is no loopback");
    }
}
