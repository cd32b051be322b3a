//! Scalars that name parts of the place a release is deployed to: engines, hosts,
//! folders, volumes, ports, networks.

use super::{Misfit, Scalar};
use crate::name;
use crate::plan::ValueKind;
use crate::yaml::{Node, Value};

/// A scalar that is kept as the text it was written with.
macro_rules! texts {
    ($($(#[$doc:meta])* $type:ident: $kind:ident, $check:ident;)+) => {
        $($(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(crate) struct $type(pub(crate) String);

        impl Scalar for $type {
            const KIND: ValueKind = ValueKind::$kind;

            fn unknown(written: &str) -> Self {
                Self(written.to_owned())
            }

            fn read(node: &Node) -> Result<Self, Misfit> {
                let text = String::read(node)?;
                $check(&text)?;
                Ok(Self(text))
            }
        })+
    };
}

texts! {
    /// The name of something the place knows: a target, group, suite or calendar.
    Label: Label, label;
    /// The name of a network that units join.
    Network: Network, network;
    /// A named volume and where units find it: `name:/path`.
    Volume: Volume, volume;
    /// Address of a container engine, as in `DOCKER_HOST`.
    EngineAddress: Text, engine;
    /// A host that is reached over SSH: `user@host:port`.
    SshAddress: Text, ssh;
    /// Where a balancer is told what to do: a path, or `HOST:PORT`.
    ControlSocket: Text, control;
    /// A folder or socket of another machine: a path from its root.
    AbsolutePath: AbsolutePath, absolute;
    /// What a person or a check opens: `https://…`.
    WebAddress: WebAddress, web;
    /// What a check asks: an address, or a path that each unit is asked for.
    CheckAddress: CheckAddress, asked;
    /// The name of an object or namespace of Kubernetes.
    KubernetesName: KubernetesName, kubernetes;
    /// A label that selects hosts or clusters: `region=north`.
    Selector: Selector, selector;
}

fn label(text: &str) -> Result<(), Misfit> {
    if name::is_label(text) {
        return Ok(());
    }
    if text.contains("://") {
        return Err(Misfit::bad(
            "is no name",
            format!("an address is written `{{ http: {text} }}`"),
        ));
    }
    Err(Misfit::bad("is no name", name::LABEL_RULE))
}

fn network(text: &str) -> Result<(), Misfit> {
    if text == "host" || text == "none" || text.starts_with("container:") {
        return Err(Misfit::bad(
            "takes names of networks to join",
            "a unit keeps a network of its own, and joins those of the engine; for example `backend`",
        ));
    }
    label(text)
}

fn volume(text: &str) -> Result<(), Misfit> {
    let example = "for example `uploads:/srv/uploads`";
    let Some((source, path)) = text.split_once(':') else {
        return Err(Misfit::bad("is `name:/path`", example));
    };
    if source.starts_with(['/', '.', '~']) || source.contains(['/', '\\']) {
        let reason = "name a volume instead: a folder of the host is another one on the next \
                      host, and opens that host to the service";
        return Err(Misfit::bad("takes no folder of the host", format!("{reason}; {example}"))
            .part(0..source.len()));
    }
    if !name::is_label(source) {
        return Err(Misfit::bad("is `name:/path`", name::LABEL_RULE).part(0..source.len()));
    }
    let at = source.len() + 1;
    if let Some(colon) = path.find(':') {
        return Err(
            Misfit::bad("is `name:/path`", "nothing follows the path").part(at + colon..text.len())
        );
    }
    if absolute(path).is_err() || path.bytes().all(|byte| byte == b'/') {
        let label = format!("the path begins with `/` and names a folder; {example}");
        return Err(Misfit::bad("is `name:/path`", label).part(at..text.len()));
    }
    Ok(())
}

fn engine(text: &str) -> Result<(), Misfit> {
    let rest = ["unix://", "tcp://", "ssh://", "http://", "https://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    match rest {
        Some(rest) if !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(())
        }
        _ => Err(Misfit::bad(
            "is no address of an engine",
            "for example `unix:///var/run/docker.sock`, `tcp://build.corp.example:2376` or \
             `ssh://deploy@host`",
        )),
    }
}

fn ssh(text: &str) -> Result<(), Misfit> {
    let wrong = || {
        Misfit::bad(
            "is no host",
            "for example `web-1.corp.example`, or with user and port `deploy@web-1:22`",
        )
    };
    let (user, rest) = match text.split_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, text),
    };
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (rest, None),
    };
    // Neither can be taken for an option of a command.
    let word = |text: &str| {
        !text.is_empty()
            && !text.starts_with('-')
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    if user.is_none_or(word) && word(host) && port_fits { Ok(()) } else { Err(wrong()) }
}

fn control(text: &str) -> Result<(), Misfit> {
    if text.starts_with('/') {
        return absolute(text);
    }
    match text.rsplit_once(':') {
        Some((host, port))
            if ssh(host).is_ok()
                && !host.contains('@')
                && port.parse::<u16>().is_ok_and(|port| port > 0) =>
        {
            Ok(())
        }
        _ => Err(Misfit::bad(
            "is no socket",
            "a path or a host with its port; for example `/run/haproxy/admin.sock` or \
             `lb-1.corp.example:9999`",
        )),
    }
}

fn absolute(text: &str) -> Result<(), Misfit> {
    if text.starts_with('/')
        && !text.chars().any(char::is_control)
        && !text.split('/').any(|part| part == "..")
    {
        return Ok(());
    }
    Err(Misfit::bad("is a path from the root", "it begins with `/` and has no `..`"))
}

fn web(text: &str) -> Result<(), Misfit> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match rest {
        Some(rest)
            if !rest.is_empty()
                && !rest.starts_with('/')
                && rest.bytes().all(|byte| byte.is_ascii_graphic()) =>
        {
            Ok(())
        }
        _ => Err(Misfit::bad(
            "is no address",
            "it begins with `https://` or `http://`; for example `https://orders.corp.example/health`",
        )),
    }
}

fn asked(text: &str) -> Result<(), Misfit> {
    let wrong = || {
        Misfit::bad(
            "is no address and no path",
            "an address is asked through the switch, as `https://orders.corp.example/health`; \
             a path of each unit, as `/health`",
        )
    };
    if text.starts_with('/') {
        let fits = text.bytes().all(|byte| byte.is_ascii_graphic());
        return if fits { Ok(()) } else { Err(wrong()) };
    }
    web(text).map_err(|_| wrong())
}

fn kubernetes(text: &str) -> Result<(), Misfit> {
    let fits = (1..=63).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !text.starts_with('-')
        && !text.ends_with('-');
    if fits {
        return Ok(());
    }
    Err(Misfit::bad(
        "is no name of Kubernetes",
        "at most 63 small letters, digits and `-`; for example `orders`",
    ))
}

fn selector(text: &str) -> Result<(), Misfit> {
    match text.split_once('=') {
        Some((key, value)) if name::is_label(key) && name::is_label(value) => Ok(()),
        _ => Err(Misfit::bad("is no label", "for example `region=north`")),
    }
}

/// A port of the host and the port of the unit behind it: `8080:80`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortPair(pub(crate) String);

impl PortPair {
    pub(crate) fn host(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }
}

impl Scalar for PortPair {
    const KIND: ValueKind = ValueKind::PortPair;

    fn unknown(written: &str) -> Self {
        Self(written.to_owned())
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        if let Value::Int(_, text) = &node.value {
            return Err(Misfit::bad("is `host:container`", format!("write `\"{text}:{text}\"`")));
        }
        let text = String::read(node)?;
        let port = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_digit())
                && text.parse::<u16>().is_ok_and(|port| port > 0)
        };
        match text.split_once(':') {
            Some((host, container)) if port(host) && port(container) => Ok(Self(text)),
            _ => Err(Misfit::bad(
                "is `host:container`",
                "two ports from 1 to 65535; for example `\"8080:80\"`",
            )),
        }
    }
}
