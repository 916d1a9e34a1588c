use super::*;

#[test]
fn names_speak_of_secrets() {
    for name in [
        "password",
        "Passwd",
        "api_token",
        "key",
        "old_keys",
        "encrypt",
        "tls",
        "client_secret",
        "auth",
    ] {
        assert!(is_secret(name, false), "{name}");
    }
    assert!(
        !is_secret("key", true)
            && !is_secret("keep_alive", false)
            && !is_secret("plugin_keys", false)
    );
}

#[test]
fn what_leads_to_a_secret_is_told_from_one() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("secrets")).unwrap();
    std::fs::write(folder.path().join("there"), "").unwrap();
    for (key, text) in [
        ("env", "CLOUD_PASSWORD"),
        ("env", "MYPW"),
        ("file", "there"),
        ("key", "there"),
        ("ca", "afile"),
        ("cert", "/afile"),
        ("alpn", "mqtt"),
        ("server_name", "a b"),
        ("credential", "mqtt-password"),
        ("file", "cloud.password"),
        ("file", "secrets/cloud"),
        ("file", "/etc/cloud"),
        ("cert", "client.pem"),
    ] {
        assert!(is_reference(key, text, folder.path()), "{key} {text}");
    }
    for (key, text) in [
        ("env", "hunter2"),
        ("env", "S3CR3T"),
        ("credential", "hunter2"),
        ("file", "hunter2"),
        ("key", "hun/ter2"),
        ("password", "hunter2"),
        ("file", "/hunter2"),
    ] {
        assert!(!is_reference(key, text, folder.path()), "{key} {text}");
    }
}

#[test]
fn of_an_address_only_scheme_host_and_port_are_shown() {
    assert_eq!(in_url("url", "mqtt://me:pw@host"), Some("me:pw@host"));
    assert_eq!(in_url("url", "me:pw@host:1883"), Some("me:pw@host:1883"));
    assert_eq!(
        in_url("where", "https://host/x?token=y"),
        Some("host/x?token=y")
    );
    assert_eq!(in_url("url", "mqtt://host:1883"), None);
    assert_eq!(in_url("topic", "a@b"), None);
    for secret in ["host:1883/hunter2", "host:hunter2", "me%3Apw%40host"] {
        assert_eq!(in_url("url", &format!("mqtt://{secret}")), Some(secret));
    }
    for plain in [
        "mqtt://[fe80::1]:1883",
        "mqtt://[::1]",
        "mqtts://host/",
        "mqtt://host:99999",
    ] {
        assert_eq!(in_url("url", plain), None, "{plain}");
    }
}
