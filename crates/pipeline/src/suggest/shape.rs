//! The map to write where one value stands in its place: `expose: 8080`.

/// Returns the map to write at a place where something else stands; `written` is a
/// scalar that can be one of its values.
pub(crate) fn map_instead(place: &str, written: Option<&str>) -> Option<String> {
    let text = written.unwrap_or_default().trim_matches(['"', '\'']);
    let port = text.parse::<u16>().is_ok();
    let path = text.starts_with('/');
    Some(match place {
        "deploy" if written.is_some() => {
            format!("for example `deploy: {{ environment: {text}, image: NAME_OF_A_STAGE }}`")
        }
        "deploy.health" if path => format!("write `health: {{ http: {text}, port: 8080 }}`"),
        "deploy.health" if port => format!("write `health: {{ tcp: {text} }}`"),
        "deploy.health" => "for example `health: { http: /health, port: 8080 }`".to_owned(),
        "deploy.expose" if port => format!("write `expose: {{ port: {text} }}`"),
        "deploy.expose" => "for example `expose: { port: 8080 }`".to_owned(),
        "deploy.canary" => "for example `canary: { steps: [{ weight: 10, bake: 5m }] }`".to_owned(),
        "ready" if port => format!("write `ready: {{ tcp: {text} }}`"),
        "ready" if path => format!("write `ready: {{ http: {text}, port: 8080 }}`"),
        "ready" => "for example `ready: { tcp: auto }`".to_owned(),
        "notify" => "for example `notify: { mail: { to: [committer] } }`".to_owned(),
        _ => return None,
    })
}
