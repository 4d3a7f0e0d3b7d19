//! What a client accepts as the URL of a WebSocket: [`IntoTarget`].

use http::Uri;

use crate::handshake::{Target, UrlError};

use sealed::Resolve;

/// The URL of a WebSocket: `&str`, `String`, [`http::Uri`] or [`Target`].
///
/// The schemes are `ws` and `wss`; `http` and `https` mean the same. A server on a Unix
/// socket is `ws+unix:/run/app.sock:/chat`, see [`Target`]. The trait is sealed.
pub trait IntoTarget: Resolve {}

impl<T: Resolve> IntoTarget for T {}

pub(super) mod sealed {
    use super::{Target, UrlError};

    #[expect(unnameable_types, reason = "this is what seals `IntoTarget`")]
    pub trait Resolve: Sized {
        /// The URL, if it was given as text.
        fn text(&self) -> Option<&str> {
            None
        }

        fn target(self) -> Result<Target, UrlError>;
    }
}

impl Resolve for &str {
    fn text(&self) -> Option<&str> {
        Some(self)
    }

    fn target(self) -> Result<Target, UrlError> {
        self.parse()
    }
}

impl Resolve for &String {
    fn text(&self) -> Option<&str> {
        Some(self)
    }

    fn target(self) -> Result<Target, UrlError> {
        self.parse()
    }
}

impl Resolve for String {
    fn text(&self) -> Option<&str> {
        Some(self)
    }

    fn target(self) -> Result<Target, UrlError> {
        self.parse()
    }
}

impl Resolve for Target {
    fn target(self) -> Result<Target, UrlError> {
        Ok(self)
    }
}

impl Resolve for &Target {
    fn target(self) -> Result<Target, UrlError> {
        Ok(self.clone())
    }
}

impl Resolve for Uri {
    fn target(self) -> Result<Target, UrlError> {
        Target::try_from(&self)
    }
}

impl Resolve for &Uri {
    fn target(self) -> Result<Target, UrlError> {
        Target::try_from(self)
    }
}
