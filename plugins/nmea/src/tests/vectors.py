"""Makes vectors.txt by another implementation: pip install pynmea2==1.19.0; python3 vectors.py > vectors.txt"""

import datetime
import json
import random

import pynmea2

random.seed(2611)


def number(most, digits):
    return f"{random.uniform(0, most):.{digits}f}"


def place():
    degrees = lambda most, width: f"{random.randrange(most):0{width}}{random.uniform(0, 59.9999):08.5f}"
    return [degrees(90, 2), random.choice("NS"), degrees(180, 3), random.choice("EW")]


def clock():
    return f"{random.randrange(24):02}{random.randrange(60):02}{random.randrange(60):02}.{random.randrange(100):02}"


def wind():
    return [number(360, 1), "T", number(360, 1), "M", number(60, 1), "N", number(30, 1), "M"]


DEPTH = lambda: [number(300, 1), "f", number(100, 2), "M", number(50, 1), "F"]
PLACE = {"latitude": "latitude", "longitude": "longitude"}
WIND = {"wind_direction": "direction_true", "wind_direction_magnetic": "direction_magnetic", "wind_speed_knots": "wind_speed_knots", "wind_speed_ms": "wind_speed_meters"}

# Sentence: how one is made, and where the other implementation has what we have.
SENTENCES = {
    "GGA": (lambda: [clock(), *place(), "1", "08", number(9, 1), number(9000, 1), "M", number(90, 1), "M", "", ""],
            {**PLACE, "quality": "gps_qual", "satellites": "num_sats", "hdop": "horizontal_dil", "altitude": "altitude", "geoid_separation": "geo_sep"}),
    "GLL": (lambda: [*place(), clock(), random.choice("AV"), "A"], {**PLACE, "valid": "status", "mode": "faa_mode"}),
    "GNS": (lambda: [clock(), *place(), "AANN", "13", number(9, 1), number(9000, 1), number(90, 1), number(9, 1), "0120"],
            {**PLACE, "mode": "mode_indicator", "satellites": "num_sats", "hdop": "hdop", "altitude": "altitude", "geoid_separation": "geo_sep", "correction_age": "age_gps_data", "correction_station": "diferential"}),
    "GST": (lambda: [clock()] + [number(99, 3) for _ in range(7)],
            {"rms": "rms", "deviation_major": "std_dev_major", "deviation_minor": "std_dev_minor", "orientation": "orientation", "deviation_latitude": "std_dev_latitude", "deviation_longitude": "std_dev_longitude", "deviation_altitude": "std_dev_altitude"}),
    "RMC": (lambda: [clock(), random.choice("AV"), *place(), number(60, 2), number(360, 1), f"{random.randrange(1, 29):02}{random.randrange(1, 13):02}{random.randrange(30):02}", "", "", "D", "V"],
            {**PLACE, "valid": "status", "speed_knots": "spd_over_grnd", "course": "true_course", "mode": "mode_indicator", "navigation": "nav_status"}),
    "VTG": (lambda: [number(360, 1), "T", number(360, 1), "M", number(60, 2), "N", number(99, 2), "K", "A"],
            {"course": "true_track", "course_magnetic": "mag_track", "speed_knots": "spd_over_grnd_kts", "speed_kmh": "spd_over_grnd_kmph", "mode": "faa_mode"}),
    "ZDA": (lambda: [clock(), "29", "02", "2028", "-03", "00"], {"zone_hours": "local_zone", "zone_minutes": "local_zone_minutes"}),
    "HDG": (lambda: [number(360, 1), number(5, 1), "E", number(5, 1), "E"], {"heading_magnetic": "heading", "magnetic_deviation": "deviation", "magnetic_variation": "variation"}),
    "HDM": (lambda: [number(360, 1), "M"], {"heading_magnetic": "heading"}),
    "HDT": (lambda: [number(360, 2), "T"], {"heading_true": "heading"}),
    "ROT": (lambda: ["-" + number(30, 1), "A"], {"rate_of_turn": "rate_of_turn", "valid": "status"}),
    "RSA": (lambda: [number(30, 1), "A", "", ""], {"rudder_starboard": "rsa_starboard", "starboard_valid": "rsa_starboard_status"}),
    "MDA": (lambda: [number(32, 4), "I", number(1, 4), "B", number(40, 1), "C", "", "", number(100, 1), "", number(20, 1), "C", *wind()],
            {"pressure_inhg": "b_pressure_inch", "pressure_bar": "b_pressure_bar", "temperature": "air_temp", "humidity": "rel_humidity", "dew_point": "dew_point", **WIND}),
    "MTW": (lambda: [number(30, 1), "C"], {"water_temperature": "temperature"}),
    "MWD": (wind, WIND),
    "MWV": (lambda: [number(360, 1), "R", number(60, 1), "N", random.choice("AV")], {"wind_angle": "wind_angle", "wind_speed_knots": "wind_speed", "valid": "status"}),
    "VWR": (lambda: [number(180, 1), "R", number(60, 1), "N", number(30, 1), "M", number(90, 1), "K"], {"wind_angle": "deg_r", "wind_speed_knots": "wind_speed_kn", "wind_speed_ms": "wind_speed_ms", "wind_speed_kmh": "wind_speed_km"}),
    "DBT": (DEPTH, {"depth_feet": "depth_feet", "depth": "depth_meters", "depth_fathoms": "depth_fathoms"}),
    "DBS": (DEPTH, {"depth_feet": "depth_feet", "depth": "depth_meter", "depth_fathoms": "depth_ fathoms"}),
    "DPT": (lambda: [number(100, 1), "-0.5", "100"], {"depth": "depth", "offset": "offset", "range": "range"}),
    "VBW": (lambda: [number(20, 1), "-1.2", "A", number(20, 1), "0.4", "V"],
            {"water_speed_along_knots": "lon_water_spd", "water_speed_across_knots": "trans_water_spd", "water_valid": "data_validity_water_spd", "ground_speed_along_knots": "lon_grnd_spd", "ground_speed_across_knots": "trans_grnd_spd", "ground_valid": "data_validity_grnd_spd"}),
    "VHW": (lambda: [number(360, 1), "T", number(360, 1), "M", number(20, 1), "N", number(40, 1), "K"],
            {"heading_true": "heading_true", "heading_magnetic": "heading_magnetic", "water_speed_knots": "water_speed_knots", "water_speed_kmh": "water_speed_km"}),
    "VLW": (lambda: [number(9999, 1), "N", number(99, 2), "N"], {"water_distance_nm": "trip_distance", "water_trip_nm": "trip_distance_reset"}),
    "RPM": (lambda: ["E", "1", number(3000, 0), "10.5", "A"], {"number": "engine_no", "rotational_speed": "speed", "pitch": "pitch", "valid": "status"}),
}


def told(value, name):
    if name.endswith("valid"):
        return value == "A"
    if name.endswith("station"):
        return value
    try:
        return float(value)
    except ValueError:
        return value


print("# Made by pynmea2 1.19.0")
for kind, (make, names) in SENTENCES.items():
    for _ in range(3):
        sentence = getattr(pynmea2, kind)(random.choice(["GP", "GN", "II", "WI"]), kind, make()).render()
        read = pynmea2.parse(sentence, check=True)
        fields = {ours: told(getattr(read, theirs), ours) for ours, theirs in names.items()}
        fields["talker"] = read.talker
        if kind in ("RMC", "ZDA"):
            moment = datetime.datetime.combine(read.datestamp, read.timestamp.replace(tzinfo=None), datetime.timezone.utc)
            fields["timestamp"] = moment.timestamp()
        print(sentence, json.dumps(fields, separators=(",", ":")))
