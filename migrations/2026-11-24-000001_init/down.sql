DROP TABLE budget_use, jobs, videos, creators, credentials, oauth_states, api_keys, projects;
DROP SEQUENCE credential_version;
