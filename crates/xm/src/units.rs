//! Quantities: as operators write them, and as they read them.

/// Bytes per second, as on the command line: a whole number, alone or with K, M or G (times 1024), or with Kbit, Mbit or Gbit (times 1000, 8 bits to a byte).
pub(crate) fn parse_rate(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, suffix) = text.split_at(digits);
    let expected = "expected bytes per second, such as 50000000, 512K, 100M, 1G, or bits, such as 100Mbit, 1Gbit";
    let (times, bits) = match suffix.to_ascii_lowercase().as_str() {
        "" => (1, 1),
        "k" => (1 << 10, 1),
        "m" => (1 << 20, 1),
        "g" => (1 << 30, 1),
        "kbit" => (1_000, 8),
        "mbit" => (1_000_000, 8),
        "gbit" => (1_000_000_000, 8),
        _ => return Err(expected.to_owned()),
    };
    if number.is_empty() {
        return Err(expected.to_owned());
    }
    let number: u64 = number.parse().map_err(|_| "too large".to_owned())?;
    match number.checked_mul(times).map(|product| product / bits) {
        None => Err("too large".to_owned()),
        Some(0) => Err("less than one byte per second: nothing would ever arrive".to_owned()),
        Some(rate) => Ok(rate),
    }
}

/// A number of bytes: `70.1 MB`.
pub(crate) fn bytes(count: u64) -> String {
    let mut value = count as f64;
    if count < 1000 {
        return format!("{count} B");
    }
    for unit in ["kB", "MB", "GB", "TB"] {
        value /= 1000.0;
        // Not 1000.0 kB: what rounds to that is 1.0 MB.
        if value < 999.95 {
            return format!("{value:.1} {unit}");
        }
    }
    format!("{:.1} PB", value / 1000.0)
}

/// A time given in milliseconds: `23 ms`, `1.9 s`, `3 min 20 s`.
pub(crate) fn millis(count: f64) -> String {
    let seconds = count / 1000.0;
    if count < 9.95 {
        format!("{count:.1} ms")
    } else if count < 999.5 {
        format!("{count:.0} ms")
    } else if seconds < 119.95 {
        format!("{seconds:.1} s")
    } else {
        // Saturates: no time that a daemon claims can overflow.
        span(seconds.round() as u64)
    }
}

/// Whole seconds: `12 s`, `3 min 20 s`, `5 h 12 min`, `3 d 4 h`.
pub fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min {} s", seconds / 60, seconds % 60),
        7_200..172_800 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// `1 round`, `4 rounds`.
pub(crate) fn plural(count: u64, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        assert_eq!(parse_rate("1"), Ok(1));
        assert_eq!(parse_rate("512K"), Ok(512 << 10));
        assert_eq!(parse_rate("100M"), Ok(100 << 20));
        assert_eq!(parse_rate("2g"), Ok(2 << 30));
        assert_eq!(parse_rate("100Mbit"), Ok(12_500_000));
        assert_eq!(parse_rate("1Gbit"), Ok(125_000_000));
        assert_eq!(parse_rate("8kbit"), Ok(1000));
        for wrong in [
            "",
            "K",
            "0",
            "0M",
            "-1",
            "+1",
            "1.5M",
            "10 M",
            "10MB",
            "10Mb",
            "1Mbit/s",
            "99999999999999999999",
            "20000000000G",
            "１M",
        ] {
            assert!(parse_rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn quantities() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(70_100_000), "70.1 MB");
        assert_eq!(bytes(999_960), "1.0 MB");
        assert_eq!(bytes(u64::MAX), "18446.7 PB");
        assert_eq!(millis(0.42), "0.4 ms");
        assert_eq!(millis(22.6), "23 ms");
        assert_eq!(millis(999.7), "1.0 s");
        assert_eq!(millis(1900.0), "1.9 s");
        assert_eq!(millis(200_000.0), "3 min 20 s");
        assert!(!millis(f64::NAN).is_empty() && !millis(f64::INFINITY).is_empty() && !millis(-1.0).is_empty());
        assert_eq!(span(59), "59 s");
        assert_eq!(span(18_720), "5 h 12 min");
        assert_eq!(plural(1, "round"), "1 round");
        assert_eq!(plural(0, "round"), "0 rounds");
    }
}
