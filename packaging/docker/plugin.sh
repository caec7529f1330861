#!/bin/sh
# Makes a managed plugin of Docker's, without a registry:
#   npm run build && packaging/docker/plugin.sh tapline FOLDER && docker plugin enable tapline
# FOLDER is made, and holds config.json and rootfs, as `docker plugin create` takes them; it may be
# removed afterwards.
set -eu
name=${1:?name of the plugin} folder=${2:?folder to make}
here=$(cd "$(dirname "$0")" && pwd)

mkdir "$folder"
"$here/rootfs.sh" "$folder/rootfs"
cp "$here/config.json" "$folder/config.json"
docker plugin create "$name" "$folder"
