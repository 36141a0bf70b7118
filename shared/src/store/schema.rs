//! The tables as diesel sees them; the truth is in `migrations/`, and a test compares the two.
#![allow(missing_docs, reason = "the columns are described in the migrations")]

diesel::table! {
    projects (id) {
        id -> Uuid,
        name -> Text,
        created_at -> Timestamptz,
        resync_every -> Nullable<Int8>,
    }
}

diesel::table! {
    api_keys (id) {
        id -> Uuid,
        project_id -> Uuid,
        hash -> Bytea,
        prefix -> Text,
        created_at -> Timestamptz,
        revoked_at -> Nullable<Timestamptz>,
        scopes -> Nullable<Array<Text>>,
        expires_at -> Nullable<Timestamptz>,
        name -> Nullable<Text>,
        last_used_at -> Nullable<Timestamptz>,
        replaced_by -> Nullable<Uuid>,
        lifetime -> Nullable<Int8>,
    }
}

diesel::table! {
    users (id) {
        id -> Uuid,
        email -> Text,
        password -> Nullable<Text>,
        created_at -> Timestamptz,
        operator -> Bool,
    }
}

diesel::table! {
    password_links (hash) {
        hash -> Bytea,
        user_id -> Uuid,
        expires_at -> Timestamptz,
    }
}

diesel::table! {
    sessions (id) {
        id -> Uuid,
        hash -> Bytea,
        user_id -> Uuid,
        browser -> Text,
        address -> Text,
        created_at -> Timestamptz,
        seen_at -> Timestamptz,
    }
}

diesel::table! {
    members (project_id, user_id) {
        project_id -> Uuid,
        user_id -> Uuid,
        role -> Text,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    invitations (id) {
        id -> Uuid,
        hash -> Bytea,
        project_id -> Uuid,
        role -> Text,
        invited_by -> Nullable<Text>,
        created_at -> Timestamptz,
        expires_at -> Timestamptz,
        operator -> Bool,
    }
}

diesel::table! {
    audit_log (id) {
        id -> Uuid,
        project_id -> Nullable<Uuid>,
        actor -> Text,
        action -> Text,
        subject -> Text,
        at -> Timestamptz,
        user_id -> Nullable<Uuid>,
    }
}

diesel::table! {
    oauth_states (state_hash) {
        state_hash -> Bytea,
        project_id -> Uuid,
        platform -> Text,
        redirect_url -> Nullable<Text>,
        pkce_verifier -> Nullable<Text>,
        expires_at -> Timestamptz,
        external_ref -> Nullable<Text>,
        begun_by -> Nullable<Text>,
        pkce_sealed -> Nullable<Bytea>,
    }
}

diesel::table! {
    credentials (id) {
        id -> Uuid,
        platform -> Text,
        app -> Text,
        external_id -> Text,
        access_token -> Bytea,
        refresh_token -> Nullable<Bytea>,
        scopes -> Text,
        version -> Int8,
        issued_at -> Timestamptz,
        access_expires_at -> Timestamptz,
        refresh_expires_at -> Nullable<Timestamptz>,
        granted_at -> Timestamptz,
        dead_reason -> Nullable<Text>,
        lease_owner -> Nullable<Uuid>,
        lease_expires_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    creators (id) {
        id -> Uuid,
        project_id -> Uuid,
        credential_id -> Uuid,
        platform -> Text,
        external_id -> Text,
        username -> Nullable<Text>,
        display_name -> Nullable<Text>,
        bio -> Nullable<Text>,
        avatar_url -> Nullable<Text>,
        profile_url -> Nullable<Text>,
        verified -> Nullable<Bool>,
        followers -> Nullable<Int8>,
        following -> Nullable<Int8>,
        likes -> Nullable<Int8>,
        video_count -> Nullable<Int8>,
        missing_scopes -> Text,
        status -> Text,
        status_reason -> Nullable<Text>,
        connected_at -> Timestamptz,
        last_synced_at -> Nullable<Timestamptz>,
        next_sync_at -> Nullable<Timestamptz>,
        disconnecting_at -> Nullable<Timestamptz>,
        resync_every -> Nullable<Int8>,
        resync_gap -> Nullable<Int8>,
        deep_synced_at -> Nullable<Timestamptz>,
        external_ref -> Nullable<Text>,
        updated_at -> Timestamptz,
        recorded -> Bool,
        recent_videos -> Nullable<Int8>,
    }
}

diesel::table! {
    worker_paces (worker) {
        worker -> Uuid,
        resync_every -> Int8,
        resync_recent -> Nullable<Int8>,
        resync_deep -> Nullable<Int8>,
        quota -> Int8,
        window_ms -> Int8,
        seen_at -> Timestamptz,
    }
}

diesel::table! {
    videos (id) {
        id -> Uuid,
        creator_id -> Uuid,
        external_id -> Text,
        title -> Nullable<Text>,
        description -> Nullable<Text>,
        url -> Nullable<Text>,
        cover_url -> Nullable<Text>,
        duration -> Nullable<Int8>,
        views -> Nullable<Int8>,
        likes -> Nullable<Int8>,
        comments -> Nullable<Int8>,
        shares -> Nullable<Int8>,
        published_at -> Timestamptz,
        listed -> Bool,
        recorded -> Bool,
    }
}

diesel::table! {
    jobs (id) {
        id -> Uuid,
        kind -> Text,
        lane -> Text,
        creator_id -> Uuid,
        project_id -> Uuid,
        state -> Text,
        claim -> Int8,
        attempts -> Int4,
        error_code -> Nullable<Text>,
        error -> Nullable<Text>,
        log_id -> Nullable<Text>,
        trace -> Nullable<Text>,
        run_at -> Timestamptz,
        created_at -> Timestamptz,
        finished_at -> Nullable<Timestamptz>,
        batched -> Bool,
    }
}

diesel::table! {
    batches (id) {
        id -> Uuid,
        project_id -> Uuid,
        platform -> Nullable<Text>,
        stale_before -> Nullable<Timestamptz>,
        until_at -> Timestamptz,
        total -> Int8,
        fresh -> Int8,
        refused -> Int8,
        missing -> Int8,
        members -> Int8,
        cursor_at -> Timestamptz,
        cursor_id -> Uuid,
        expanded_at -> Nullable<Timestamptz>,
        created_at -> Timestamptz,
        finished_at -> Nullable<Timestamptz>,
        trace -> Nullable<Text>,
    }
}

diesel::table! {
    batch_jobs (job_id, batch_id) {
        job_id -> Uuid,
        batch_id -> Uuid,
    }
}

diesel::table! {
    batch_counts (batch_id, stripe) {
        batch_id -> Uuid,
        stripe -> Int4,
        done -> Int8,
        failed -> Int8,
        cancelled -> Int8,
    }
}

diesel::table! {
    checkpoints (creator_id, part) {
        creator_id -> Uuid,
        part -> Int4,
        job_id -> Uuid,
        granted_at -> Timestamptz,
        scopes -> Text,
        refused -> Text,
        began_at -> Timestamptz,
        saved_at -> Timestamptz,
        waited_for -> Bool,
        cursor -> Nullable<Text>,
        oldest -> Nullable<Timestamptz>,
        disordered -> Bool,
        changed -> Bool,
        external_ids -> Array<Text>,
    }
}

diesel::table! {
    creator_history (creator_id, at) {
        creator_id -> Uuid,
        at -> Timestamptz,
        followers -> Nullable<Int8>,
        following -> Nullable<Int8>,
        likes -> Nullable<Int8>,
        video_count -> Nullable<Int8>,
        views -> Nullable<Int8>,
    }
}

diesel::table! {
    video_history (video_id, at) {
        video_id -> Uuid,
        at -> Timestamptz,
        views -> Nullable<Int8>,
        likes -> Nullable<Int8>,
        comments -> Nullable<Int8>,
        shares -> Nullable<Int8>,
    }
}

diesel::table! {
    idempotency_keys (project_id, request_hash) {
        project_id -> Uuid,
        request_hash -> Bytea,
        body_hash -> Bytea,
        lease_owner -> Uuid,
        lease_expires_at -> Timestamptz,
        answer -> Nullable<Bytea>,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    lanes (lane) {
        lane -> Text,
        state -> Text,
        changed_at -> Timestamptz,
    }
}

diesel::table! {
    budget_use (app, endpoint) {
        app -> Text,
        endpoint -> Text,
        used_at -> Timestamptz,
    }
}

diesel::joinable!(videos -> creators (creator_id));
diesel::joinable!(creators -> credentials (credential_id));
diesel::joinable!(api_keys -> projects (project_id));
diesel::joinable!(creators -> projects (project_id));
diesel::joinable!(jobs -> projects (project_id));
diesel::joinable!(batch_jobs -> jobs (job_id));
diesel::joinable!(password_links -> users (user_id));
diesel::joinable!(sessions -> users (user_id));
diesel::joinable!(members -> users (user_id));
diesel::joinable!(members -> projects (project_id));
diesel::joinable!(invitations -> projects (project_id));
diesel::allow_tables_to_appear_in_same_query!(
    audit_log,
    invitations,
    members,
    password_links,
    sessions,
    users,
    projects,
    api_keys,
    oauth_states,
    credentials,
    creators,
    videos,
    jobs,
    batches,
    batch_jobs,
    batch_counts,
    checkpoints,
    creator_history
);
