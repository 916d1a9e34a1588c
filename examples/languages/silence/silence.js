import { define, duration, host } from "./tidegate.js";

const alarm = (device, state) => ({ port: "alarms", topic: `alarms/${device}/silence`, key: device, json: { device, state } });

// An alarm when a device falls silent, and its end when it is back.
export const { transform, timer, state } = define({
  settings: { after: duration },
  ports: ["alarms"],
  state: () => ({ heardUs: 0, isSilent: false }),
  tickEvery: (settings) => settings.after / 6,
  process(message, out, { state }) {
    const device = state.of(message.key);
    device.heardUs = message.runningUs;
    out.pass();
    if (device.isSilent) out.send(alarm(message.key, "back"));
    device.isSilent = false;
  },
  tick(out, { settings, state }) {
    const nowUs = host.runningUs();
    for (const key of state.keys()) {
      const { heardUs, isSilent } = state.get(key);
      if (isSilent || nowUs - heardUs < settings.after * 1e6) continue;
      state.set(key, { heardUs, isSilent: true });
      out.send(alarm(key, "silent"));
    }
  },
});
