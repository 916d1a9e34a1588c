import { define } from "./tidegate.js";

// Counts the messages of each device.
export const { transform, state } = define({
  state: () => ({ count: 0 }),
  process(message, out, { state }) {
    out.emitJson({ device: message.key, count: ++state.of(message.key).count });
  },
});
