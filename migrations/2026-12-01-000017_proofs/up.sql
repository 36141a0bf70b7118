-- The PKCE verifier of a consent under way, sealed to its state. Only adds: the version before this one writes and reads
-- pkce_verifier, in plain text, and so the consents that began before a deploy end after it. What this version begins, a process
-- of the version before can't end: TikTok refuses the code, and the creator begins again. Writing both would leave the secret there.

-- Nobody waits behind us for long: after three seconds all is undone, and `migrate` can be run again.
SET LOCAL lock_timeout = '3s';

ALTER TABLE oauth_states ADD COLUMN pkce_sealed bytea;
