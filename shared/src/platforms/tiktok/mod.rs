//! TikTok: Login Kit (OAuth), the Display API, webhooks. The only place that knows them.
