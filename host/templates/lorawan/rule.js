import source from "./codec.js" with { type: "text" };
import { lorawan } from "./lorawan.js";

// What a LoRaWAN device has sent, decoded by `codec.js`; and what it is to be sent, encoded by it.
export const { transform } = lorawan(source);
