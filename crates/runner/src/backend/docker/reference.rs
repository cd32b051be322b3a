//! The parts of an image reference.

/// Splits `repository:tag`; a colon before the last slash belongs to a port.
pub(super) fn split_tag(reference: &str) -> (&str, Option<&str>) {
    let name = reference.split('@').next().unwrap_or(reference);
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    match name[last..].rfind(':') {
        Some(colon) => (&name[..last + colon], Some(&name[last + colon + 1..])),
        None => (name, None),
    }
}

/// Splits a repository into its registry's host and the name there.
pub(super) fn split_host(repository: &str) -> (&str, String) {
    match repository.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => {
            (host, rest.to_owned())
        }
        Some(_) => ("docker.io", repository.to_owned()),
        None => ("docker.io", format!("library/{repository}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_split_at_the_right_colon_and_slash() {
        assert_eq!(split_tag("h:5000/a/b:1.0"), ("h:5000/a/b", Some("1.0")));
        assert_eq!(split_tag("h:5000/a"), ("h:5000/a", None));
        assert_eq!(split_tag("a@sha256:00"), ("a", None));
        assert_eq!(split_host("h:5000/a/b"), ("h:5000", "a/b".to_owned()));
        assert_eq!(split_host("localhost/a"), ("localhost", "a".to_owned()));
        assert_eq!(split_host("team/a"), ("docker.io", "team/a".to_owned()));
        assert_eq!(split_host("busybox"), ("docker.io", "library/busybox".to_owned()));
    }
}
