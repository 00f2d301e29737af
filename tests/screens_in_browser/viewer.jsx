// Draws one .bob file with Diamond's cs-web-lib: ?file=main.bob&macros={"CH":"CH0"}
import React from "react";
import { createRoot } from "react-dom/client";
import { Provider } from "react-redux";
import { BrowserRouter } from "react-router-dom";
import { EmbeddedDisplay, FileProvider, RelativePosition, ensureWidgetsRegistered, store } from "@diamondlightsource/cs-web-lib";

const asked = new URLSearchParams(window.location.search);
const file = {
  path: `/screens/${asked.get("file")}`,
  defaultProtocol: "ca",
  macros: JSON.parse(asked.get("macros") || "{}"),
};
ensureWidgetsRegistered();
createRoot(document.getElementById("root")).render(
  <Provider store={store({ PVWS_SOCKET: window.location.host, PVWS_SSL: false, THROTTLE_PERIOD: "100" })}>
    <BrowserRouter>
      <FileProvider>
        <EmbeddedDisplay file={file} position={new RelativePosition("0", "0", "100%", "100%")} scroll={false} />
      </FileProvider>
    </BrowserRouter>
  </Provider>,
);
