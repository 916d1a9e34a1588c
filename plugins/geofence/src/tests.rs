use super::*;
use tidegate_sdk::serde_json::{Value, json};
use tidegate_sdk::test::{
    Input, Plugin, START_US, hostile_names, hostile_payloads, settings_shown,
};

fn at(plugin: &mut Plugin<Geofence>, latitude: f64, longitude: f64) -> Vec<String> {
    let reading = json!({ "latitude": latitude, "longitude": longitude });
    let outcome = plugin.feed(Input::json("d7", reading));
    assert_eq!(outcome.rejected(), None);
    let told = outcome
        .on("fences")
        .into_iter()
        .map(|told| told.json::<Value>());
    told.map(|told| {
        format!(
            "{} {}",
            told["fence"].as_str().unwrap(),
            told["state"].as_str().unwrap()
        )
    })
    .collect()
}

fn plugin(fence: Value, margin: f64) -> Plugin<Geofence> {
    Plugin::new(json!({ "fences": [fence], "margin": margin }))
}

#[test]
fn what_the_page_shows_works() {
    let shown = settings_shown(include_str!("lib.rs"));
    let mut plugin = Plugin::<Geofence>::new(shown[0].clone());
    let reading = Input::json("d7", json!({ "latitude": 47.3771, "longitude": 8.5419 }));
    let outcome = plugin.feed(reading);
    let told = outcome.on("fences")[0];
    assert_eq!(
        told.text(),
        format!(
            r#"{{"fence":"yard","device":"d7","state":"entered","latitude":47.3771,"longitude":8.5419,"at":{START_US}}}"#
        )
    );
    assert_eq!((&*told.topic, &*told.key), ("fences/d7/yard", "d7"));
    assert_eq!(
        at(&mut plugin, 47.385, 8.55),
        ["yard left", "field entered"]
    );
}

#[test]
fn a_circle_is_left_beyond_its_margin() {
    // A degree of latitude is 111,195 m.
    let mut plugin = plugin(
        json!({ "name": "a", "center": [47, 8], "radius": 1112 }),
        112.0,
    );
    assert!(at(&mut plugin, 47.0101, 8.0).is_empty());
    assert_eq!(at(&mut plugin, 47.0099, 8.0), ["a entered"]);
    assert!(at(&mut plugin, 47.0109, 8.0).is_empty());
    assert_eq!(at(&mut plugin, 47.0111, 8.0), ["a left"]);
    assert!(plugin.plugin().state().is_empty());
}

#[test]
fn a_polygon_with_a_notch_is_left_beyond_its_margin() {
    let notched = json!({ "name": "u", "polygon": [[0.1, 0.1], [0.1, 0.4], [0.4, 0.4], [0.4, 0.3], [0.2, 0.3], [0.2, 0.2], [0.4, 0.2], [0.4, 0.1]] });
    let mut plugin = plugin(notched, 1000.0);
    assert!(at(&mut plugin, 0.3, 0.25).is_empty(), "in the notch");
    assert_eq!(at(&mut plugin, 0.3, 0.35), ["u entered"]);
    assert!(at(&mut plugin, 0.3, 0.295).is_empty(), "within the margin");
    assert_eq!(at(&mut plugin, 0.3, 0.25), ["u left"]);
}

#[test]
fn the_date_line_is_a_line_like_any_other() {
    let square = json!({ "name": "s", "polygon": [[10, 179.9], [10, -179.9], [10.2, -179.9], [10.2, 179.9]] });
    let mut square = plugin(square, 0.0);
    assert_eq!(at(&mut square, 10.1, -179.95), ["s entered"]);
    assert!(at(&mut square, 10.1, 179.95).is_empty());
    assert_eq!(at(&mut square, 10.1, 179.85), ["s left"]);
    let mut circle = plugin(
        json!({ "name": "c", "center": [0.1, 180], "radius": 2000 }),
        0.0,
    );
    assert_eq!(at(&mut circle, 0.1, -179.99), ["c entered"]);
}

#[test]
fn no_place_is_told_apart_from_one() {
    let fence = json!({ "name": "z", "center": [0, 0], "radius": 10 });
    let mut nothing = plugin(fence.clone(), 0.0);
    assert!(at(&mut nothing, 0.0, 0.0).is_empty());
    assert_eq!(nothing.counters()["no_place"], 1);
    let mut place =
        Plugin::<Geofence>::new(json!({ "fences": [fence], "zero": "place", "missing": "pass" }));
    assert_eq!(at(&mut place, 0.0, 0.0), ["z entered"]);
    assert!(
        place
            .feed(Input::new("d7", r#"{"latitude":null,"longitude":1}"#))
            .passed()
    );
    let outcome = place.feed(Input::new("d7", r#"{"latitude":91,"longitude":1}"#));
    assert_eq!(outcome.rejected(), Some("there is no place at 91, 1"));
}

#[test]
fn where_a_device_is_survives_a_swap() {
    let settings = json!({ "fences": [{ "name": "a", "center": [47, 8], "radius": 100 }] });
    let mut plugin = Plugin::<Geofence>::new(settings.clone());
    assert_eq!(at(&mut plugin, 47.0, 8.0), ["a entered"]);
    let mut plugin = plugin.swapped(settings);
    assert!(at(&mut plugin, 47.0, 8.0).is_empty());
    assert_eq!(at(&mut plugin, 48.0, 8.0), ["a left"]);
}

#[test]
fn what_cannot_work_is_refused_in_words() {
    for (fence, words) in [
        (
            json!({ "name": "a" }),
            "`center` and `radius`, or `polygon`",
        ),
        (
            json!({ "name": "a/b", "center": [0, 0], "radius": 1 }),
            "`name` has 1 to 64",
        ),
        (
            json!({ "name": "a", "center": [91, 0], "radius": 1 }),
            "`center`: there is no place",
        ),
        (
            json!({ "name": "a", "center": [0, 0], "radius": 0 }),
            "`radius` is more than 0",
        ),
        (
            json!({ "name": "a", "polygon": [[0, 0], [1, 1]] }),
            "3 to 500 corners",
        ),
        (
            json!({ "name": "a", "polygon": [[0, 0], [5, 0], [5, 5]] }),
            "wider than",
        ),
        (
            json!({ "name": "a", "polygon": [[86, 0], [86, 0.1], [86.1, 0]] }),
            "beyond 85",
        ),
    ] {
        let error = Plugin::<Geofence>::try_new(json!({ "fences": [fence] })).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    let fence = json!({ "name": "a", "center": [0, 0], "radius": 1 });
    let error =
        Plugin::<Geofence>::try_new(json!({ "fences": [fence], "margin": -1 })).unwrap_err();
    assert!(error.contains("`margin`"), "{error}");
    let error = Plugin::<Geofence>::try_new(json!({ "fences": [fence, fence] })).unwrap_err();
    assert!(error.contains("stands there twice"), "{error}");
}

#[test]
fn whatever_comes_nothing_panics_and_state_is_bounded() {
    let circle = json!({ "name": "a", "center": [1, 1], "radius": 1000 });
    let square = json!({ "name": "b", "polygon": [[1, 1], [1, 1.1], [1.1, 1.1], [1.1, 1]] });
    let mut plugin = Plugin::<Geofence>::new(
        json!({ "fences": [circle, square], "latitude": "t", "longitude": "t", "margin": 10 }),
    );
    for payload in hostile_payloads("t") {
        plugin.feed(Input::new("d7", payload));
    }
    for name in hostile_names(20_000) {
        plugin.feed(Input::new(&name, r#"{"t":1.0001}"#));
    }
    let bytes: usize = plugin.save(false).iter().map(|page| page.data.len()).sum();
    assert!(bytes < 2 << 20, "{bytes}");
    let inside = Inside {
        of: vec![u32::MAX; 64],
    };
    assert!(tidegate_sdk::weight(&inside) <= inside.weight());
}
