import { define, Reject } from "./tidegate.js";

// One message with several readings becomes one for each.
export const { transform } = define({
  process(message, out) {
    const readings = message.need("readings");
    if (!Array.isArray(readings)) throw new Reject("field `readings` is not a list");
    for (const { name, value } of readings) {
      if (typeof name !== "string") throw new Reject("a reading has no name");
      out.send({ topic: `devices/${message.key}/${name}`, json: { value } });
    }
  },
});
