//! Who runs the commands: `USER[:GROUP]` as in the image's own passwd and group.

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub home: Option<String>,
}

/// Finds `text` in the contents of `/etc/passwd` and `/etc/group`; numbers need no entry.
pub fn find(text: &str, passwd: &str, group: &str) -> Result<User, String> {
    let (name, group_name) = match text.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (text, None),
    };
    let number: Option<u32> = name.parse().ok();
    let entry = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| {
        fields.len() >= 6
            && (fields[0] == name || number.is_some() && fields[2].parse().ok() == number)
    });
    let uid = number
        .or_else(|| entry.as_ref()?.get(2)?.parse().ok())
        .ok_or_else(|| format!("user `{name}` is not in the image"))?;
    let gid = match group_name {
        Some(group_name) => find_group(group_name, group)?,
        None => entry.as_ref().and_then(|fields| fields[3].parse().ok()).unwrap_or(0),
    };
    Ok(User { uid, gid, home: entry.map(|fields| fields[5].to_owned()) })
}

fn find_group(name: &str, group: &str) -> Result<u32, String> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    group
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields[0] == name)
        .and_then(|fields| fields.get(2)?.parse().ok())
        .ok_or_else(|| format!("group `{name}` is not in the image"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nbuild:x:1000:100:,,,:/home/build:/bin/sh\n";
    const GROUP: &str = "root:x:0:\ndocker:x:999:build\n";

    fn found(text: &str) -> Result<(u32, u32, Option<String>), String> {
        find(text, PASSWD, GROUP).map(|user| (user.uid, user.gid, user.home))
    }

    #[test]
    fn a_name_or_a_number_takes_group_and_home_of_its_entry() {
        let build = Ok((1000, 100, Some("/home/build".to_owned())));
        assert_eq!(found("build"), build);
        assert_eq!(found("1000"), build);
    }

    #[test]
    fn a_group_behind_the_colon_wins() {
        assert_eq!(found("build:docker").unwrap().1, 999);
        assert_eq!(found("build:7").unwrap().1, 7);
    }

    #[test]
    fn a_number_needs_no_entry_and_a_name_does() {
        assert_eq!(found("4242"), Ok((4242, 0, None)));
        assert_eq!(found("nobody"), Err("user `nobody` is not in the image".to_owned()));
        assert_eq!(found("build:nope"), Err("group `nope` is not in the image".to_owned()));
    }
}
