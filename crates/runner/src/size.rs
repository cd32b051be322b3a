//! Numbers of bytes, for people.

/// Returns for example `3.1 MiB`.
#[expect(clippy::cast_precision_loss, reason = "one digit behind the point is shown")]
pub fn text(bytes: u64) -> String {
    match bytes {
        0..0x400 => format!("{bytes} B"),
        0x400..0x10_0000 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        0x10_0000..0x4000_0000 => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
        _ => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn sizes_are_read_easily() {
        assert_eq!(
            [5, 2048, 3 << 20, 10 << 30].map(text),
            ["5 B", "2.0 KiB", "3.0 MiB", "10.0 GiB"]
        );
    }
}
