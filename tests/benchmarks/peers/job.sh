#!/usr/bin/env bash
# One image, the whole job: upload, generate, poll, download, save, let go of the notification.
# FILE is the argument; API, TOKEN, OUTBOX, POLL (seconds) and ADDED (px left and right) come by the environment.
set -eu
file=$1 name=${1##*/}
call() { curl --silent --fail --max-time 30 -H "Authorization: Bearer $TOKEN" "$@"; }
json() { call -H 'Content-Type: application/json' "$@"; }

id=$(call -F "file=@$file" "$API/expand/target" | jq -r .id_image)
json -d "{\"id_image\":\"$id\",\"top\":0,\"bottom\":0,\"left\":$ADDED,\"right\":$ADDED}" "$API/edit/generate" >/dev/null
link=
while [ -z "$link" ]; do
    sleep "$POLL"
    found=$(json -d "{\"name_list\":\"expand_generate,error\",\"id_image\":\"$id\"}" "$API/notification_by_name_json")
    read -r number link < <(jq -r '.notifications_list[0] | "\(.id) \(.data.links[0].l // "")"' <<<"$found") || true
done
curl --silent --fail --max-time 60 -o "$OUTBOX/.$name" "$link"
mv "$OUTBOX/.$name" "$OUTBOX/$name"
json -X DELETE -d "{\"id\":$number}" "$API/notification/delete_json" >/dev/null
