# What would stand in the block of the plugin, for "cwtch-plugin test".

listen = "127.0.0.1:9464"
