//! What the API, the workers and the program share: settings, the store, the queue, the platforms, the budget, secrets.

pub mod api_key;
pub mod budget;
pub mod cadence;
pub mod crypto;
pub mod ids;
pub mod key_scopes;
pub mod overview;
pub mod people;
pub mod platforms;
pub mod queue;
pub mod redis_servers;
pub mod secret_token;
pub mod settings;
pub mod store;
pub mod telemetry;
pub mod tokens;
pub mod trace;
pub mod turns;
