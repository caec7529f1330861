#!/bin/sh
# Makes a managed plugin of Docker's out of the image of Dockerfile, without a registry:
#   packaging/docker/plugin.sh tapline FOLDER && docker plugin enable tapline
# FOLDER is made, and holds config.json and rootfs, as `docker plugin create` takes them.
set -eu
name=${1:?name of the plugin} folder=${2:?folder to make}
here=$(cd "$(dirname "$0")" && pwd)

docker build -q -f "$here/Dockerfile" -t tapline-plugin-rootfs "$here/../.."
mkdir -p "$folder/rootfs" /var/lib/tapline
id=$(docker create tapline-plugin-rootfs)
docker export "$id" | tar -x -C "$folder/rootfs"
docker rm "$id" >/dev/null
cp "$here/config.json" "$folder/config.json"
docker plugin create "$name" "$folder"
