// What the function node of flow.json needs beside its own code.
module.exports = {
    uiPort: Number(process.env.PORT),
    uiHost: "127.0.0.1",
    flowFile: "flow.json",
    credentialSecret: false,
    functionGlobalContext: { fs: require("fs"), path: require("path"), env: process.env, fetch, FormData, Blob },
    logging: { console: { level: "info" } },
};
