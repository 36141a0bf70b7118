//! The sandbox as a client meets it: every test starts one of its own and speaks HTTP.

#[cfg(test)]
mod api;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod oauth;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tokens;
#[cfg(test)]
mod walk;
#[cfg(test)]
mod webhooks;
#[cfg(test)]
mod world;
