// The function node: at most WORKERS images at once, the rest in a queue.
const { path, fs, env, fetch, FormData, Blob } = Object.fromEntries(
    ["path", "fs", "env", "fetch", "FormData", "Blob"].map((name) => [name, global.get(name)]));
const queue = context.get("queue") || [];
const auth = { Authorization: `Bearer ${env.TOKEN}` };
const call = async (method, where, body) => {
    const answer = await fetch(env.API + where, {
        method, headers: { ...auth, "Content-Type": "application/json" }, body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${where}: ${answer.status}`);
    return answer.json().catch(() => ({}));
};
const expand = async (file) => {
    const form = new FormData();
    form.append("file", new Blob([await fs.promises.readFile(file)]), path.basename(file));
    const sent = await fetch(env.API + "/expand/target", { method: "POST", headers: auth, body: form });
    const id = (await sent.json()).id_image, added = Number(env.ADDED);
    await call("POST", "/edit/generate", { id_image: id, top: 0, bottom: 0, left: added, right: added });
    for (;;) {
        await new Promise((done) => setTimeout(done, Number(env.POLL) * 1000));
        const found = await call("POST", "/notification_by_name_json",
            { name_list: "expand_generate,error", id_image: id });
        const item = found.notifications_list[0];
        if (!item) continue;
        const result = Buffer.from(await (await fetch(item.data.links[0].l)).arrayBuffer());
        const hidden = path.join(env.OUTBOX, "." + path.basename(file));
        await fs.promises.writeFile(hidden, result);
        await fs.promises.rename(hidden, path.join(env.OUTBOX, path.basename(file)));
        await call("DELETE", "/notification/delete_json", { id: item.id });
        return;
    }
};
const next = () => {
    const busy = context.get("busy") || 0;
    if (!queue.length || busy >= Number(env.WORKERS)) return;
    context.set("busy", busy + 1);
    expand(queue.shift()).catch((error) => node.error(error.message)).finally(() => {
        context.set("busy", context.get("busy") - 1);
        next();
    });
};
if (msg.event === "update") queue.push(msg.filename || msg.payload);
context.set("queue", queue);
next();
