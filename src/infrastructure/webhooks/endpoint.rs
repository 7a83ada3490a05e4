//! Which URLs may be endpoints.

use std::net::IpAddr;

use url::{Host, Url};

use super::guard::not_public;
use crate::application::ports::UnfitUrl;

/// Longest URL of an endpoint in bytes.
const MAX_URL_BYTES: usize = 2048;

/// The normal form of a URL that may be an endpoint. With `allow_private` it may also be without TLS, or name an address that is
/// not public.
pub(crate) fn endpoint(text: &str, allow_private: bool) -> Result<Url, UnfitUrl> {
    let unfit = |why: &str| Err(UnfitUrl(why.to_owned()));
    if text.len() > MAX_URL_BYTES {
        return unfit("the URL is longer than 2048 bytes");
    }
    let Ok(url) = Url::parse(text) else {
        return unfit("it is not a URL: write it like https://shop.example/hooks");
    };
    match url.scheme() {
        "https" => {}
        "http" if allow_private => {}
        "http" => {
            return unfit(
                "the URL must begin with https://, because events name buyers: only webhooks.allow_private allows http://",
            );
        }
        _ => return unfit("the URL must begin with https://"),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return unfit("the URL must not have a user or a password: receivers check the signature");
    }
    if url.fragment().is_some() {
        return unfit("the URL must not have a fragment (#…): it is never sent");
    }
    if url.as_str().len() > MAX_URL_BYTES {
        return unfit("the URL is longer than 2048 bytes");
    }
    if let Some(address) = literal(&url)
        && let Some(what) = not_public(address)
        && !allow_private
    {
        return Err(refusal(address, what));
    }
    Ok(url)
}

/// The address that a URL names without a name.
pub(crate) fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Domain(_) => None,
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
    }
}

/// Why an address is not connected to.
pub(crate) fn refusal(address: IpAddr, what: &str) -> UnfitUrl {
    UnfitUrl(format!("{address} is {what}: webhooks.allow_private allows such endpoints"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        endpoint(text, false).unwrap_err().0
    }

    #[test]
    fn unfit_urls_are_refused_and_the_reason_is_named() {
        for (url, reason) in [
            ("", "not a URL"),
            ("shop.example/hook", "not a URL"),
            ("https://", "not a URL"),
            ("https:// /", "not a URL"),
            ("http://shop.example/", "https://"),
            ("ftp://shop.example/", "https://"),
            ("file:///etc/passwd", "https://"),
            ("https://ann@shop.example/", "user"),
            ("https://:secret@shop.example/", "password"),
            ("https://shop.example/#top", "fragment"),
            ("https://127.0.0.1/", "127.0.0.1 is a loopback address"),
            ("https://[::1]:8443/", "loopback"),
            ("https://2130706433/", "127.0.0.1"),
            ("https://0x7f.1/", "127.0.0.1"),
            ("https://[::ffff:10.0.0.1]/", "private"),
        ] {
            assert!(refused(url).contains(reason), "{url}: {}", refused(url));
        }
        assert!(refused(&format!("https://a.example/{}", "x".repeat(2048))).contains("2048"));
        let grows = format!("https://a.example/{}", "ä".repeat(1000));
        assert!(refused(&grows).contains("2048"));
    }

    #[test]
    fn a_fit_url_is_returned_in_its_normal_form() {
        let normal = |text, allow_private| endpoint(text, allow_private).unwrap().to_string();

        assert_eq!(normal("HTTPS://Shop.Example:443/a?b=c", false), "https://shop.example/a?b=c");
        assert_eq!(normal("https://shop.example", false), "https://shop.example/");
        assert_eq!(normal("http://127.0.0.1:9/hook", true), "http://127.0.0.1:9/hook");
    }
}
