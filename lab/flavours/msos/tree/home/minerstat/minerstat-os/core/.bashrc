# The look of its shells.
export PS1='\u@rig:\w\$ '
alias mlog='screen -x minew'
