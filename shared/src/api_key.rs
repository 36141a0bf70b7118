//! API keys: how one is made, checked and stored.
