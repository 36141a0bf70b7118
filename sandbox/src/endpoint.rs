//! The endpoints that are logged, limited and made to fail.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Endpoint {
    Authorize,
    Token,
    Revoke,
    UserInfo,
    VideoList,
    VideoQuery,
}

impl Endpoint {
    /// Those that TikTok limits.
    pub(crate) const LIMITED: [Self; 3] = [Self::UserInfo, Self::VideoList, Self::VideoQuery];

    /// As the control API writes it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            Self::Token => "token",
            Self::Revoke => "revoke",
            Self::UserInfo => "user_info",
            Self::VideoList => "video_list",
            Self::VideoQuery => "video_query",
        }
    }

    /// The OAuth endpoints answer errors flat, the others in an envelope.
    pub(crate) fn is_oauth(self) -> bool {
        matches!(self, Self::Authorize | Self::Token | Self::Revoke)
    }
}
